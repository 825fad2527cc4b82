"""pairs: bandwidth, latency and wrong values of each pair of ranks, one pair at a time."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from agent.bench import text_tables
from agent.bench.collectives.pattern import Pattern, count_wrong_values
from agent.bench.communicator import Communicator
from agent.bench.entries import PairEntry, Share
from agent.bench.timing import time_call


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Options: sizes_bytes (the least gives the latency, the largest the bandwidth), repeats,
    warm_up, iterations (messages each way in a repeat of the least).
    """
    least, most = min(options["sizes_bytes"]), max(options["sizes_bytes"])
    entries = []
    for source, target in itertools.permutations(range(comm.size), 2):
        pair = _Pair(comm, source, target)
        iterations = options["iterations"]
        seconds, wrong = _measure(pair, least, pair.send_and_return, iterations, options)
        latency = seconds / 2 / iterations
        seconds, more_wrong = _measure(pair, most, pair.send, 1, options)
        entry: PairEntry = {
            "from": source,
            "to": target,
            "size_bytes": most,
            "bandwidth_bytes_per_second": most / seconds,
            "latency_seconds": latency,
            "wrong_values": wrong + more_wrong,
        }
        entries.append(entry)
    for line in text_tables.format_pairs(entries, comm.size):
        comm.line(line)
    return {"pairs": entries}


@dataclass(frozen=True)
class _Pair:
    """Messages between two ranks. The other ranks do nothing."""

    comm: Communicator
    source: int
    target: int

    def send(self, values: Any) -> None:
        """Send values from the source to the target."""
        if self.comm.rank == self.source:
            dist.send(values, self.target)
        elif self.comm.rank == self.target:
            dist.recv(values, self.source)

    def send_and_return(self, values: Any) -> None:
        """Send values there and back: messages in one direction would overlap and hide latency."""
        self.send(values)
        _Pair(self.comm, self.target, self.source).send(values)


def _measure(
    pair: _Pair,
    size_bytes: int,
    message: Callable[[Any], None],
    messages: int,
    options: Mapping[str, Any],
) -> tuple[float, int]:
    """Return the seconds of all messages of a repeat, and the number of wrong values."""
    comm = pair.comm
    values = torch.empty(max(1, size_bytes // torch.float32.itemsize), device=comm.device)
    wrong, times = 0, []

    def send() -> None:
        for _ in range(messages):
            message(values)

    for number in range(options["warm_up"] + options["repeats"]):
        comm.progress.report_position(
            f"rank {pair.source} to {pair.target}, {size_bytes} bytes, repeat {number + 1}"
        )
        pattern = Pattern(comm.size, number, torch.float32, comm.device)
        expected = pattern.compute_values(pair.source, 0, len(values))
        values.copy_(expected) if comm.rank == pair.source else values.fill_(-1)
        seconds = time_call(comm, send)
        if number >= options["warm_up"]:
            times.append(seconds)
        if comm.rank in (pair.source, pair.target):
            wrong += count_wrong_values(values, expected)
    return statistics.median(comm.find_slowest(times)), comm.sum_counts(wrong)
