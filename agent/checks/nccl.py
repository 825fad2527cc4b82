"""Checks of collective benchmarks' results."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import CheckContext, format_bandwidth, format_speed
from agent.checks.judgements import judge_bandwidth
from agent.checks.sample import RIG, Sample, Verdict
from agent.readings.links import find_slowest_passage
from agent.readings.nccl import CollectiveResult
from agent.readings.sharing import Passage


def find_slowest_link(result: CollectiveResult, sample: Sample) -> Passage | None:
    """Return the slowest link of the result's GPUs, or of all GPUs if it names none.

    None if one of the GPUs is not on the bus any more.
    """
    paths = {path.address: path for path in sample.paths}
    addresses = result.gpus or tuple(paths)
    if not addresses or not set(addresses) <= set(paths):
        return None
    return find_slowest_passage([paths[address] for address in addresses], sample.ports)


def expect_bus_bandwidth(result: CollectiveResult, sample: Sample) -> tuple[float, str] | None:
    """Return the bus bandwidth (bytes per second) that the slowest path should carry, and why.

    Holds for NCCL through host memory; None for another backend, one rank, or GPUs that are gone.
    """
    if result.backend != "nccl" or result.ranks < 2:
        return None
    link = find_slowest_link(result, sample)
    if link is None or not link.bandwidth:
        return None
    return link.bandwidth, f"{format_speed(link.speed or 0)} x{link.width} at {link.place}"


def check_bus_bandwidth(context: CheckContext) -> Iterator[Verdict]:
    """Check each result against what the slowest path should carry."""
    thresholds = context.thresholds
    for result in context.sample.nccl.results:
        expected = expect_bus_bandwidth(result, context.sample)
        if expected is None:
            continue
        bandwidth, reason = expected
        status = judge_bandwidth(
            result.bus_bandwidth,
            bandwidth,
            thresholds["bus_bandwidth_warning"],
            thresholds["bus_bandwidth_critical"],
        )
        reading = format_bandwidth(result.bus_bandwidth)
        expectation = f"{format_bandwidth(bandwidth)} ({reason})"
        yield context.word_verdict("nccl-bandwidth", result.name, status, reading, expectation)


def check_values(context: CheckContext) -> Iterator[Verdict]:
    """Check that collectives computed the right values."""
    for result in context.sample.nccl.results:
        if result.wrong_values is not None:
            status = "critical" if result.wrong_values else "ok"
            reading = f"{result.wrong_values} wrong"
            yield context.word_verdict("nccl-values", result.name, status, reading, "none wrong")


def check_files(context: CheckContext) -> Iterator[Verdict]:
    """Check that every result file can be read."""
    ignored = context.sample.nccl.ignored
    expectation = "all can be read"
    if not ignored:
        reading = f"{context.sample.nccl.files_read} read"
        yield context.word_verdict("nccl-results", RIG, "ok", reading, expectation)
        return
    first = ignored[0]
    more = "" if len(ignored) == 1 else f", and {len(ignored) - 1} more"
    reading = f"{first.file}: {first.reason}{more}"
    yield context.word_verdict(
        "nccl-results", RIG, "warning", reading, expectation, file=first.file
    )


CHECKS = (check_bus_bandwidth, check_values, check_files)
