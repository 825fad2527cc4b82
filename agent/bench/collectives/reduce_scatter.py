"""reduce_scatter: every rank receives its part of the sum."""

from __future__ import annotations

from typing import Any

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
    return ElementCounts(part * ranks, part, part)


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.reduce_scatter_single(receive, send)


def _compute_expected(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    return pattern.compute_sums(rank * elements.receive, elements.receive)


COLLECTIVE = CollectiveBenchmark(
    name="reduce_scatter",
    factor=count_scattered,
    elements=_count_elements,
    sent=make_own_values,
    call=_call,
    expected=_compute_expected,
    redop="sum",
)
