"""sendrecv: every rank sends to the next and receives from the one before, in a ring."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import Collective, Elements, own_values, whole
from agent.bench.collectives.pattern import Pattern
from agent.bench.world import World


def _call(world: World, send: Any, receive: Any) -> None:
    after, before = (world.rank + 1) % world.size, (world.rank - 1) % world.size
    operations = [dist.P2POp(dist.isend, send, after), dist.P2POp(dist.irecv, receive, before)]
    for work in dist.batch_isend_irecv(operations):
        work.wait()


def _expected(pattern: Pattern, rank: int, elements: Elements) -> Any:
    return pattern.values((rank - 1) % pattern.ranks, 0, elements.receive)


COLLECTIVE = Collective(
    name="sendrecv",
    factor=lambda ranks: 1.0,
    elements=whole,
    sent=own_values,
    call=_call,
    expected=_expected,
)
