"""all_gather: every rank gets every rank's part."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from agent.bench.collectives.harness import Collective, Elements, own_values, scattering
from agent.bench.collectives.pattern import Pattern
from agent.bench.world import World


def _elements(size: int, ranks: int) -> Elements:
    part = max(1, size // ranks)
    return Elements(part, part * ranks, part)


def _call(world: World, send: Any, receive: Any) -> None:
    dist.all_gather_single(receive, send)


def _expected(pattern: Pattern, rank: int, elements: Elements) -> Any:
    return torch.cat([pattern.values(peer, 0, elements.send) for peer in range(pattern.ranks)])


COLLECTIVE = Collective(
    name="all_gather",
    factor=scattering,
    elements=_elements,
    sent=own_values,
    call=_call,
    expected=_expected,
)
