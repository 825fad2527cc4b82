"""Runs, checks and times a collective; the other files of this package define the collectives.

A size is that of nccl-tests: the bytes of the larger of the two buffers. Each repeat has new values
and is checked. Small sizes are called several times in a repeat, and the time is divided.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from agent.bench import text_tables
from agent.bench.collectives.pattern import Pattern, count_wrong_values
from agent.bench.communicator import DTYPES, Communicator
from agent.bench.entries import CollectiveEntry, CollectiveSize
from agent.bench.timing import time_call

#: Up to this size latency dominates: a repeat has many calls, as in nccl-tests.
SMALL_BYTES = 1 << 20


class ElementCounts(NamedTuple):
    """Elements that a rank sends and receives, and the count that nccl-tests shows."""

    send: int
    receive: int
    shown: int


@dataclass(frozen=True)
class CollectiveBenchmark:
    """What a collective is.

    factor: bus bandwidth over algorithm bandwidth, by ranks (nccl-tests, doc/PERFORMANCE.md).
    elements: (elements of the size, ranks) -> Elements.
    sent: (pattern, rank, Elements) -> what a rank has before; shape (send,).
    call: (world, send buffer, receive buffer); the two may be one.
    expected: (pattern, rank, Elements) -> what it has after, of shape (receive,); None where a
    rank gets nothing.
    in_place: the result is in the send buffer.
    redop, root: as nccl-tests shows them.
    """

    name: str
    factor: Callable[[int], float]
    elements: Callable[[int, int], ElementCounts]
    sent: Callable[[Pattern, int, ElementCounts], Any]
    call: Callable[[Communicator, Any, Any], object]
    expected: Callable[[Pattern, int, ElementCounts], Any]
    in_place: bool = False
    redop: str = "none"
    root: int = -1


def keep_size(size: int, ranks: int) -> ElementCounts:
    """Return counts for a collective in which every rank sends and receives everything."""
    return ElementCounts(size, size, size)


def make_own_values(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    """Return a rank's values, from the first position on."""
    return pattern.compute_values(rank, 0, elements.send)


def count_scattered(ranks: int) -> float:
    """Return the factor for data of which all but a rank's part crosses a link."""
    return (ranks - 1) / ranks


def measure(
    comm: Communicator, collective: CollectiveBenchmark, options: Mapping[str, Any]
) -> CollectiveEntry:
    """Run all sizes; return an entry of the document's "collectives". Collective.

    Options: sizes_bytes (list), repeats and warm_up (numbers), iterations (calls in a repeat of up
    to SMALL_BYTES), dtype (name).
    """
    dtype_name = options.get("dtype", "float32")
    for line in text_tables.format_collective_heading(collective.name):
        comm.line(line)
    sizes = []
    for size_bytes in options["sizes_bytes"]:
        entry = _measure_size(comm, collective, DTYPES[dtype_name], size_bytes, options)
        sizes.append(entry)
        comm.line(
            text_tables.format_collective_row(entry, dtype_name, collective.redop, collective.root)
        )
    return {
        "collective": collective.name,
        "dtype": dtype_name,
        "ranks": comm.size,
        "sizes": sizes,
    }


def _measure_size(
    comm: Communicator,
    collective: CollectiveBenchmark,
    dtype: torch.dtype,
    size_bytes: int,
    options: Mapping[str, Any],
) -> CollectiveSize:
    width = dtype.itemsize
    elements = collective.elements(max(1, size_bytes // width), comm.size)
    real_bytes = max(elements.send, elements.receive) * width
    iterations = options.get("iterations", 1) if real_bytes <= SMALL_BYTES else 1
    send = torch.empty(elements.send, dtype=dtype, device=comm.device)
    receive = send
    if not collective.in_place:
        receive = torch.empty(elements.receive, dtype=dtype, device=comm.device)
    wrong, times = 0, []

    def fill(seed: int) -> Pattern:
        pattern = Pattern(comm.size, seed, dtype, comm.device)
        receive.fill_(-1)
        send.copy_(collective.sent(pattern, comm.rank, elements))
        return pattern

    def count_wrong(pattern: Pattern) -> int:
        expected = collective.expected(pattern, comm.rank, elements)
        return 0 if expected is None else count_wrong_values(receive, expected)

    def call_repeatedly() -> None:
        for _ in range(iterations):
            collective.call(comm, send, receive)

    warm_up = options.get("warm_up", 1)
    for number in range(warm_up + options["repeats"]):
        comm.progress.report_position(
            f"{collective.name} of {real_bytes} bytes, repeat {number + 1}"
        )
        pattern = fill(number)
        seconds = time_call(comm, call_repeatedly)
        if number >= warm_up:
            times.append(seconds / iterations)
        if iterations > 1:  # after several calls in place, the result is not the first one's
            pattern = fill(number)
            collective.call(comm, send, receive)
        wrong += count_wrong(pattern)
    times = comm.find_slowest(times)
    seconds = statistics.median(times)
    bandwidth = real_bytes / seconds
    return {
        "size_bytes": real_bytes,
        "count": elements.shown,
        "time_seconds": seconds,
        "times": times,
        "algorithm_bandwidth_bytes_per_second": bandwidth,
        "bus_bandwidth_bytes_per_second": bandwidth * collective.factor(comm.size),
        "wrong_values": comm.sum_counts(wrong),
    }
