"""sendrecv: every rank sends to the next and receives from the one before, in a ring."""

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


def _call(comm: Communicator, send: Any, receive: Any) -> None:
    after, before = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    operations = [dist.P2POp(dist.isend, send, after), dist.P2POp(dist.irecv, receive, before)]
    for work in dist.batch_isend_irecv(operations):
        work.wait()


def _compute_expected(pattern: Pattern, rank: int, elements: ElementCounts) -> Any:
    return pattern.compute_values((rank - 1) % pattern.ranks, 0, elements.receive)


COLLECTIVE = CollectiveBenchmark(
    name="sendrecv",
    factor=lambda ranks: 1.0,
    elements=keep_size,
    sent=make_own_values,
    call=_call,
    expected=_compute_expected,
)
