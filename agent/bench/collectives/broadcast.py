"""broadcast: every rank receives the root's data."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from agent.bench.collectives.harness import CollectiveBenchmark, keep_size, make_own_values
from agent.bench.communicator import Communicator

ROOT = 0


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    dist.broadcast(send, src=ROOT)


COLLECTIVE = CollectiveBenchmark(
    name="broadcast",
    factor=lambda ranks: 1.0,
    elements=keep_size,
    sent=make_own_values,
    call=_call,
    expected=lambda pattern, rank, elements: pattern.compute_values(ROOT, 0, elements.receive),
    in_place=True,
    root=ROOT,
)
