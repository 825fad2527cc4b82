"""Checks of collective benchmarks' results."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import Context, bandwidth, speed
from agent.checks.sample import RIG, Sample, Status, Verdict
from agent.readings.links import slowest_of
from agent.readings.nccl import Result
from agent.readings.sharing import Passage


def slowest(result: Result, sample: Sample) -> Passage | None:
    """What bounds a collective: the slowest of its GPUs' links, all of them if it names none."""
    paths = {path.address: path for path in sample.paths}
    names = result.gpus or tuple(paths)
    if not names or not set(names) <= set(paths):
        return None
    return slowest_of([paths[name] for name in names], sample.ports)


def expected(result: Result, sample: Sample) -> tuple[float, str] | None:
    """Bus bandwidth (bytes per second) that the slowest path should carry, and by what.

    Of NCCL through host memory; None for another backend, one rank, or GPUs that are gone.
    """
    link = slowest(result, sample) if result.backend == "nccl" and result.ranks > 1 else None
    if link is None or not link.bandwidth:
        return None
    return link.bandwidth, f"{speed(link.speed or 0)} x{link.width} at {link.place}"


def bus_bandwidth(context: Context) -> Iterator[Verdict]:
    """Measured against what the slowest path should carry."""
    for result in context.sample.nccl.results:
        wanted = expected(result, context.sample)
        reading = bandwidth(result.bus_bandwidth)
        if wanted is None:
            continue
        share = result.bus_bandwidth / wanted[0]
        status: Status = "ok"
        if share < context.limit("bus_bandwidth_critical"):
            status = "critical"
        elif share < context.limit("bus_bandwidth_warning"):
            status = "warning"
        expectation = f"{bandwidth(wanted[0])} ({wanted[1]})"
        yield context.verdict("nccl-bandwidth", result.name, status, reading, expectation)


def values(context: Context) -> Iterator[Verdict]:
    """Whether what came out was right."""
    for result in context.sample.nccl.results:
        if result.wrong_values is not None:
            yield context.verdict(
                "nccl-values", result.name, "critical" if result.wrong_values else "ok",
                f"{result.wrong_values} wrong", "none wrong",
            )  # fmt: skip


def files(context: Context) -> Iterator[Verdict]:
    """Result files that could not be read."""
    ignored = context.sample.nccl.ignored
    if not ignored:
        read = context.sample.nccl.files_read
        yield context.verdict("nccl-results", RIG, "ok", f"{read} read", "all can be read")
        return
    first = ignored[0]
    more = "" if len(ignored) == 1 else f", and {len(ignored) - 1} more"
    yield context.verdict(
        "nccl-results", RIG, "warning", f"{first.file}: {first.reason}{more}",
        "all can be read", file=first.file,
    )  # fmt: skip


CHECKS = (bus_bandwidth, values, files)
