"""The rank program of agent.bench, with the interface's counters read around every timed call.

Usage, in a rank's network namespace: python -m lab.verify_advise.counted_rank JOB.json COUNTS.json.
COUNTS.json is a list of [part number, bytes sent, bytes received] in the order of the calls.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from agent.bench import rank, timing
from agent.bench.collectives import harness
from agent.bench.communicator import Communicator
from agent.bench.progress import ProgressWriter
from lab.verify_advise.netns import INTERFACE


def main() -> None:
    """Run the job that is named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text())
    counts: list[tuple[int, int, int]] = []
    part = -1
    begin, time_call = ProgressWriter.begin, timing.time_call

    def begin_and_count(teller: ProgressWriter, name: str) -> None:
        nonlocal part
        part += 1
        begin(teller, name)

    def time_and_count(comm: Communicator, call: Callable[[], object]) -> float:
        before = _counters()
        seconds = time_call(comm, call)
        comm.barrier()  # what this rank sent has left it when all are here
        sent, received = (now - then for now, then in zip(_counters(), before, strict=True))
        counts.append((part, sent, received))
        return seconds

    ProgressWriter.begin = begin_and_count  # type: ignore[method-assign,assignment]
    timing.time_call = harness.time_call = time_and_count  # type: ignore[attr-defined]
    rank.run(job)
    Path(sys.argv[2]).write_text(json.dumps(counts))
    os._exit(0)  # as agent.bench.rank does


def _counters() -> tuple[int, int]:
    folder = Path(f"/sys/class/net/{INTERFACE}/statistics")
    return int((folder / "tx_bytes").read_text()), int((folder / "rx_bytes").read_text())


if __name__ == "__main__":
    main()
