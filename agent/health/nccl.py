"""Checks of collective benchmarks' results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.health.context import Context, bandwidth, speed
from agent.readings.links import Path
from agent.readings.nccl import Result
from agent.sample import RIG, Status, Verdict

#: Bytes per second that NCCL counts a lane for, by the link's speed in transfers per second: its
#: own topology figures, where Gen3 x1/x4/x8/x16 are 0.75/3/6/12 GB/s.
NCCL_LANE = {2.5e9: 0.1875e9, 5e9: 0.375e9, 8e9: 0.75e9, 16e9: 1.5e9, 32e9: 3e9, 64e9: 6e9}


def nccl_bandwidth(path: Path) -> float:
    """What NCCL counts a path for, in bytes per second; 0 for one that is not known."""
    return (path.width or 0) * NCCL_LANE.get(path.max_speed or 0, 0)


def slowest(result: Result, paths: Mapping[str, Path]) -> Path | None:
    """The path that bounds a collective: the slowest of its GPUs', all of them if it names none."""
    names = result.gpus or tuple(paths)
    own = [paths[name] for name in names if name in paths]
    if not own or len(own) < len(names):
        return None
    return min(own, key=nccl_bandwidth)


def expected(result: Result, paths: Mapping[str, Path]) -> tuple[float, str] | None:
    """Bus bandwidth (bytes per second) that the slowest path should carry, and by what.

    Of NCCL through host memory; None for another backend, one rank, or GPUs that are gone.
    """
    path = slowest(result, paths) if result.backend == "nccl" and result.ranks > 1 else None
    value = nccl_bandwidth(path) if path else 0
    if path is None or not value:
        return None
    return value, f"{speed(path.max_speed or 0)} x{path.width} at {path.address}"


def bus_bandwidth(context: Context) -> Iterator[Verdict]:
    """Measured against what the slowest path should carry."""
    paths = {path.address: path for path in context.sample.paths}
    for result in context.sample.nccl.results:
        wanted = expected(result, paths)
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
