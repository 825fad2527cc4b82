"""all_to_all: every rank gets its part of what each has."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from agent.bench.collectives.harness import Collective, Elements, own_values, scattering
from agent.bench.collectives.pattern import Pattern
from agent.bench.world import World


def _elements(size: int, ranks: int) -> Elements:
    part = max(1, size // ranks)
    return Elements(part * ranks, part * ranks, part)


def _call(world: World, send: Any, receive: Any) -> None:
    dist.all_to_all_single(receive, send)


def _expected(pattern: Pattern, rank: int, elements: Elements) -> Any:
    part = elements.shown
    return torch.cat(
        [pattern.values(peer, rank * part, part) for peer in range(pattern.ranks)]
    )  # fmt: skip


COLLECTIVE = Collective(
    name="all_to_all",
    factor=scattering,
    elements=_elements,
    sent=own_values,
    call=_call,
    expected=_expected,
)
