"""broadcast: every rank gets what the root has."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import Collective, own_values, whole
from agent.bench.world import World

ROOT = 0


def _call(world: World, send: Any, receive: Any) -> None:
    dist.broadcast(send, src=ROOT)


COLLECTIVE = Collective(
    name="broadcast",
    factor=lambda ranks: 1.0,
    elements=whole,
    sent=own_values,
    call=_call,
    expected=lambda pattern, rank, elements: pattern.values(ROOT, 0, elements.receive),
    in_place=True,
    root=ROOT,
)
