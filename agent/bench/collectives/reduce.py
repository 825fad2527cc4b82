"""reduce: the root receives the sum of all."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import (
    CollectiveBenchmark,
    ElementCounts,
    keep_size,
    make_own_values,
)
from agent.bench.collectives.pattern import Pattern
from agent.bench.communicator import Communicator

ROOT = 0


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.reduce(send, dst=ROOT)


def _compute_expected(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    return pattern.compute_sums(0, elements.receive) if rank == ROOT else None


COLLECTIVE = CollectiveBenchmark(
    name="reduce",
    factor=lambda ranks: 1.0,
    elements=keep_size,
    sent=make_own_values,
    call=_call,
    expected=_compute_expected,
    in_place=True,
    redop="sum",
    root=ROOT,
)
