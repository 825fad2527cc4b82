"""all_gather: every rank receives every rank's part."""

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
    return ElementCounts(part, part * ranks, part)


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.all_gather_single(receive, send)


def _compute_expected(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    return torch.cat(
        [pattern.compute_values(peer, 0, elements.send) for peer in range(pattern.ranks)]
    )


COLLECTIVE = CollectiveBenchmark(
    name="all_gather",
    factor=count_scattered,
    elements=_count_elements,
    sent=make_own_values,
    call=_call,
    expected=_compute_expected,
)
