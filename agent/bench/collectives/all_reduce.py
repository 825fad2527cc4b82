"""all_reduce: every rank receives the sum of all."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import CollectiveBenchmark, keep_size, make_own_values
from agent.bench.communicator import Communicator


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.all_reduce(send)


COLLECTIVE = CollectiveBenchmark(
    name="all_reduce",
    factor=lambda ranks: 2 * (ranks - 1) / ranks,
    elements=keep_size,
    sent=make_own_values,
    call=_call,
    expected=lambda pattern, rank, elements: pattern.compute_sums(0, elements.receive),
    in_place=True,
    redop="sum",
)
