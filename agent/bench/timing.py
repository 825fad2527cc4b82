"""Time on ranks: a clock around what the device did, and the slowest rank's figure counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.bench.communicator import Communicator

WARM_SECONDS = 1.0  # in which a GPU leaves its idle state


def time_call(comm: Communicator, call: Callable[[], object]) -> float:
    """Seconds from all ranks ready until this rank's device is done. Collective."""
    comm.barrier()
    began = time.perf_counter()
    call()
    comm.synchronize()
    return time.perf_counter() - began


def warm_up_device(comm: Communicator, call: Callable[[], object]) -> None:
    """Call until libraries are loaded and a GPU's clocks are up: one that was idle takes a while,
    and what takes milliseconds would be over by then. Collective.
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
    """Seconds of each repeat, of the slowest rank; warm-up is run and not counted. Collective."""
    times = []
    for number in range(warm_up + repeats):
        comm.progress.at(f"{what} {number + 1} of {warm_up + repeats}")
        times.append(time_call(comm, call))
    return comm.slowest(times[warm_up:])
