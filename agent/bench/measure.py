"""Time on ranks: a clock around what the device did, and the slowest rank's figure counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.bench.world import World

WARM_SECONDS = 1.0  # in which a GPU leaves its idle state


def timed(world: World, call: Callable[[], object]) -> float:
    """Seconds from all ranks ready until this rank's device is done. Collective."""
    world.barrier()
    began = time.perf_counter()
    call()
    world.synchronize()
    return time.perf_counter() - began


def warmed(world: World, call: Callable[[], object]) -> None:
    """Call until libraries are loaded and a GPU's clocks are up: one that was idle takes a while,
    and what takes milliseconds would be over by then. Collective.
    """
    timed(world, call)
    until = time.perf_counter() + (WARM_SECONDS if world.device.type == "cuda" else 0.0)
    while time.perf_counter() < until:
        call()
        world.synchronize()


def repeated(
    world: World,
    call: Callable[[], object],
    *,
    warm_up: int,
    repeats: int,
    what: str,
) -> list[float]:
    """Seconds of each repeat, of the slowest rank; warm-up is run and not counted. Collective."""
    times = []
    for number in range(warm_up + repeats):
        world.teller.at(f"{what} {number + 1} of {warm_up + repeats}")
        times.append(timed(world, call))
    return world.slowest(times[warm_up:])
