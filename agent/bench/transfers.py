"""transfers: copies between host memory and each GPU, one GPU after another, pinned and pageable.

Values are compared at their destination: another copy would hide in which direction they changed.
Only the current rank has buffers, and frees them: all ranks share the pinned memory.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from agent.bench import text_tables
from agent.bench.collectives.pattern import Pattern, count_wrong_values
from agent.bench.communicator import Communicator
from agent.bench.entries import Share, TransferEntry
from agent.bench.environment import describe_gpu
from agent.bench.timing import time_call

DIRECTIONS = ("host_to_device", "device_to_host")


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Options: size_bytes, repeats."""
    entries: list[TransferEntry] = []
    for line in text_tables.format_transfer_heading():
        comm.line(line)
    for rank in range(comm.size):
        for direction in DIRECTIONS:
            for pinned in (True, False):
                measured = _measure(comm, rank, direction, pinned, options)
                entry = comm.gather(measured)[rank]
                entries.append(entry)
                comm.line(text_tables.format_transfer_row(entry))
                comm.release()
    return {"transfers": entries}


def _measure(
    comm: Communicator, rank: int, direction: str, pinned: bool, options: Mapping[str, Any]
) -> TransferEntry | None:
    """Return a copy's entry on the rank that copies; the others wait."""
    is_copying = comm.rank == rank
    count = options["size_bytes"] // torch.float32.itemsize if is_copying else 1
    host = torch.empty(count, pin_memory=pinned and is_copying)
    device = torch.empty(count, device=comm.device)
    source, target = (host, device) if direction == "host_to_device" else (device, host)
    pattern = Pattern(1, 0, torch.float32, source.device)
    source.copy_(pattern.compute_values(rank, 0, count))
    expected = replace(pattern, device=target.device).compute_values(rank, 0, count)

    def copy() -> None:
        if is_copying:
            target.copy_(source, non_blocking=pinned)

    wrong, times = 0, []
    for number in range(options["repeats"] + 1):
        comm.progress.report_position(f"{direction} of rank {rank}, repeat {number + 1}")
        copy()  # a link that was idle is slow at first
        comm.synchronize()
        target.fill_(-1)
        seconds = time_call(comm, copy)
        if number:  # the first only warms up
            times.append(seconds)
        wrong += count_wrong_values(target, expected)
    if not is_copying:
        return None
    seconds = statistics.median(times)
    return {
        "gpu": describe_gpu(comm.local_rank)[0],
        "rank": rank,
        "direction": direction,
        "pinned": pinned,
        "size_bytes": options["size_bytes"],
        "time_seconds": seconds,
        "times": times,
        "bandwidth_bytes_per_second": options["size_bytes"] / seconds,
        "wrong_values": wrong,
    }
