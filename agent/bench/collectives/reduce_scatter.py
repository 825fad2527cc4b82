"""reduce_scatter: every rank gets its part of the sum of all."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import Collective, Elements, own_values, scattering
from agent.bench.collectives.pattern import Pattern
from agent.bench.world import World


def _elements(size: int, ranks: int) -> Elements:
    part = max(1, size // ranks)
    return Elements(part * ranks, part, part)


def _call(world: World, send: Any, receive: Any) -> None:
    dist.reduce_scatter_single(receive, send)


def _expected(pattern: Pattern, rank: int, elements: Elements) -> Any:
    return pattern.summed(rank * elements.receive, elements.receive)


COLLECTIVE = Collective(
    name="reduce_scatter",
    factor=scattering,
    elements=_elements,
    sent=own_values,
    call=_call,
    expected=_expected,
    redop="sum",
)
