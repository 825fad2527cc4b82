"""pairs: from each rank to each other, alone: bandwidth, latency, and whether values are right."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from agent.bench import text_tables
from agent.bench.collectives.pattern import Pattern, wrong_values
from agent.bench.communicator import Communicator
from agent.bench.timing import time_call


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options: sizes_bytes (the least gives the latency, the largest the bandwidth), repeats,
    warm_up, iterations (messages each way in a repeat of the least).
    """
    least, most = min(options["sizes_bytes"]), max(options["sizes_bytes"])
    entries = []
    for source, target in itertools.permutations(range(comm.size), 2):
        ways = _Ways(comm, source, target)
        seconds, wrong = _between(ways, least, ways.to_and_fro, options["iterations"], options)
        latency = seconds / 2 / options["iterations"]
        seconds, wrong_too = _between(ways, most, ways.there, 1, options)
        entries.append({
            "from": source, "to": target, "size_bytes": most,
            "bandwidth_bytes_per_second": most / seconds, "latency_seconds": latency,
            "wrong_values": wrong + wrong_too,
        })  # fmt: skip
    for line in text_tables.pair_lines(entries, comm.size):
        comm.line(line)
    return {"pairs": entries}


@dataclass(frozen=True)
class _Ways:
    """Messages of a pair. Ranks that are not of it do nothing."""

    comm: Communicator
    source: int
    target: int

    def there(self, values: Any) -> None:
        """From the source to the target."""
        if self.comm.rank == self.source:
            dist.send(values, self.target)
        elif self.comm.rank == self.target:
            dist.recv(values, self.source)

    def to_and_fro(self, values: Any) -> None:
        """The same and back: sent one after another, messages would hide each other's latency."""
        self.there(values)
        _Ways(self.comm, self.target, self.source).there(values)


def _between(
    ways: _Ways, size_bytes: int, message: Callable[[Any], None], messages: int,
    options: Mapping[str, Any],
) -> tuple[float, int]:  # fmt: skip
    """Seconds of all messages of a repeat, and wrong values."""
    comm = ways.comm
    values = torch.empty(max(1, size_bytes // torch.float32.itemsize), device=comm.device)
    wrong, times = 0, []

    def send() -> None:
        for _ in range(messages):
            message(values)

    for number in range(options["warm_up"] + options["repeats"]):
        comm.progress.at(
            f"rank {ways.source} to {ways.target}, {size_bytes} bytes, repeat {number + 1}"
        )
        pattern = Pattern(comm.size, number, torch.float32, comm.device)
        expected = pattern.values(ways.source, 0, len(values))
        values.copy_(expected) if comm.rank == ways.source else values.fill_(-1)
        seconds = time_call(comm, send)
        if number >= options["warm_up"]:
            times.append(seconds)
        if comm.rank in (ways.source, ways.target):
            wrong += wrong_values(values, expected)
    return statistics.median(comm.slowest(times)), comm.total(wrong)
