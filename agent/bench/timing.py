"""Measures time on all ranks; the slowest rank's time counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.bench.communicator import Communicator

WARM_SECONDS = 1.0  # for a GPU to leave its idle state


def time_call(comm: Communicator, call: Callable[[], object]) -> float:
    """Return the seconds from a barrier until this rank's device is done. Collective."""
    comm.barrier()
    began = time.perf_counter()
    call()
    comm.synchronize()
    return time.perf_counter() - began


def warm_up_device(comm: Communicator, call: Callable[[], object]) -> None:
    """Call repeatedly until libraries are loaded and the GPU has left its idle clocks. Collective.

    A measurement of milliseconds would otherwise end before the clocks rise.
    """
    time_call(comm, call)
    until = time.perf_counter() + (WARM_SECONDS if comm.device.type == "cuda" else 0.0)
    while time.perf_counter() < until:
        call()
        comm.synchronize()


def time_repeats(
    comm: Communicator,
    call: Callable[[], object],
    *,
    warm_up: int,
    repeats: int,
    what: str,
) -> list[float]:
    """Return the slowest rank's seconds of each repeat, without the warm-up. Collective."""
    times = []
    for number in range(warm_up + repeats):
        comm.progress.report_position(f"{what} {number + 1} of {warm_up + repeats}")
        times.append(time_call(comm, call))
    return comm.find_slowest(times[warm_up:])
