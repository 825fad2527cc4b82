"""The part "collectives": one file for each collective, and the code that measures them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.bench.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    broadcast,
    reduce,
    reduce_scatter,
    sendrecv,
)
from agent.bench.collectives.harness import measure
from agent.bench.communicator import Communicator
from agent.bench.entries import CollectiveEntry, Share

#: By name, in the order in which they run.
COLLECTIVES = {
    module.COLLECTIVE.name: module.COLLECTIVE
    for module in (
        all_reduce,
        all_gather,
        reduce_scatter,
        broadcast,
        reduce,
        all_to_all,
        sendrecv,
    )
}


def run(comm: Communicator, options: Mapping[str, Any]) -> Iterator[Share]:
    """Run the collectives; yield the results so far after each one, because the next may hang.

    Options: collectives, sizes_bytes, repeats, warm_up, iterations, dtype. See measure().
    """
    entries: list[CollectiveEntry] = []
    for name in options.get("collectives", list(COLLECTIVES)):
        entries.append(measure(comm, COLLECTIVES[name], options))
        yield {"collectives": list(entries)}
