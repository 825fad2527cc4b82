"""all_to_all: every rank receives its part of each rank's data."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from agent.bench.collectives.harness import (
    CollectiveBenchmark,
    ElementCounts,
    count_scattered,
    make_own_values,
)
from agent.bench.collectives.pattern import Pattern
from agent.bench.communicator import Communicator


def _count_elements(size: int, ranks: int) -> ElementCounts:
    part = max(1, size // ranks)
    return ElementCounts(part * ranks, part * ranks, part)


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.all_to_all_single(receive, send)


def _compute_expected(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    part = elements.shown
    return torch.cat(
        [pattern.compute_values(peer, rank * part, part) for peer in range(pattern.ranks)]
    )


COLLECTIVE = CollectiveBenchmark(
    name="all_to_all",
    factor=count_scattered,
    elements=_count_elements,
    sent=make_own_values,
    call=_call,
    expected=_compute_expected,
)
