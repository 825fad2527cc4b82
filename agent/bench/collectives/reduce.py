"""reduce: the root gets the sum of all."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import Collective, Elements, own_values, whole
from agent.bench.collectives.pattern import Pattern
from agent.bench.world import World

ROOT = 0


def _call(world: World, send: Any, receive: Any) -> None:
    dist.reduce(send, dst=ROOT)


def _expected(pattern: Pattern, rank: int, elements: Elements) -> Any:
    return pattern.summed(0, elements.receive) if rank == ROOT else None


COLLECTIVE = Collective(
    name="reduce",
    factor=lambda ranks: 1.0,
    elements=whole,
    sent=own_values,
    call=_call,
    expected=_expected,
    in_place=True,
    redop="sum",
    root=ROOT,
)
