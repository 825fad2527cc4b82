"""peer: copies between the memories of each pair of GPUs, by the driver, without NCCL.

With access, one GPU writes to the other's memory (P2P); without, the driver copies through host
memory. Rank 0 makes all copies; the others wait.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from agent.bench import text_tables
from agent.bench.collectives.pattern import Pattern, count_wrong_values
from agent.bench.communicator import Communicator
from agent.bench.entries import PeerEntry, Share
from agent.bench.environment import describe_gpu


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Options: size_bytes, repeats."""
    entries: list[PeerEntry] = []
    for line in text_tables.format_peer_heading():
        comm.line(line)
    for source, target in itertools.permutations(range(comm.size), 2):
        comm.progress.report_position(f"GPU {source} to {target}")
        measured = _copy(source, target, options) if comm.rank == 0 else None
        entry = comm.gather(measured)[0]
        entries.append(entry)
        comm.line(text_tables.format_peer_row(entry))
        comm.release()
    return {"peer": entries}


def _copy(source: int, target: int, options: Mapping[str, Any]) -> PeerEntry:
    count = options["size_bytes"] // torch.float32.itemsize
    here = Pattern(1, 0, torch.float32, torch.device("cuda", source))
    there = replace(here, device=torch.device("cuda", target))
    sent = here.compute_values(source, 0, count)
    # Computed on both GPUs, so that host memory is not involved.
    expected = there.compute_values(source, 0, count)
    received = torch.empty_like(expected)
    wrong, times = 0, []
    for number in range(options["repeats"] + 1):
        received.copy_(sent)  # a link that was idle is slow at first
        received.fill_(-1)
        torch.cuda.synchronize(source)
        torch.cuda.synchronize(target)
        began = time.perf_counter()
        received.copy_(sent)
        torch.cuda.synchronize(source)
        torch.cuda.synchronize(target)
        if number:  # the first lets the driver map memory
            times.append(time.perf_counter() - began)
        wrong += count_wrong_values(received, expected)
    seconds = statistics.median(times)
    return {
        "from": describe_gpu(source)[0],
        "to": describe_gpu(target)[0],
        "access": bool(torch.cuda.can_device_access_peer(target, source)),
        "time_seconds": seconds,
        "times": times,
        "bandwidth_bytes_per_second": options["size_bytes"] / seconds,
        "wrong_values": wrong,
    }
