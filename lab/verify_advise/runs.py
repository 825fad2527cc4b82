"""Runs agent.bench's rank program in a limited network, and reads what it measured and sent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab.errors import LabError
from lab.verify_advise import netns

ROOT = Path(__file__).parents[2]
PORT = 29500  # of the rendezvous, inside a namespace
MOST_SECONDS = 420.0


@dataclass(frozen=True)
class Run:
    """The result of a job. counts: of each rank, (part, bytes sent, received) by timed call."""

    document: Mapping[str, Any]
    counts: Sequence[Sequence[tuple[int, int, int]]]

    def mean_sent_bytes(self, part: int, calls: int) -> list[float]:
        """Bytes that each rank sent in a call of a part: the mean of its last `calls` ones."""
        means = []
        for counts in self.counts:
            part_bytes = [sent for number, sent, _ in counts if number == part]
            means.append(statistics.fmean(part_bytes[-calls:]))
        return means


def run(ranks: int, megabits: float | None, parts: Sequence[Mapping[str, Any]]) -> Run:
    """Run parts on so many ranks over links of a rate (Mbit/s). Raises LabError."""
    with netns.network(ranks) as network, TemporaryDirectory() as name:
        folder = Path(name)
        if megabits is not None:
            network.limit(megabits)
        job = folder / "job.json"
        output = folder / "output.json"
        job.write_text(json.dumps({"backend": "gloo", "output": str(output), "parts": list(parts)}))
        program = [sys.executable, "-m", "lab.verify_advise.counted_rank", str(job)]
        started = [
            network.start(
                rank,
                [*program, f"{folder}/counts-{rank}.json"],
                _environment(rank, ranks, network.address(0)),
                folder / f"rank-{rank}.log",
            )
            for rank in range(ranks)
        ]
        try:
            _wait(started, folder)
        finally:
            _end(started)
        counts = [json.loads((folder / f"counts-{rank}.json").read_text()) for rank in range(ranks)]
        return Run(json.loads(output.read_text()), counts)


def _environment(rank: int, ranks: int, master: str) -> dict[str, str]:
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": master,
        "MASTER_PORT": str(PORT),
        "GLOO_SOCKET_IFNAME": netns.INTERFACE,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def _wait(started: Sequence[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until all ranks are done. Raises LabError when the first of them fails."""
    deadline = time.monotonic() + MOST_SECONDS
    while True:
        states = [process.poll() for process in started]
        bad = next((rank for rank, state in enumerate(states) if state), None)
        if bad is not None:
            log = (folder / f"rank-{bad}.log").read_text(errors="replace")
            tail = "\n".join(f"    {line}" for line in log.splitlines()[-12:])
            raise LabError(f"Rank {bad} ended with status {states[bad]}:\n{tail}")
        if all(state == 0 for state in states):
            return
        if time.monotonic() > deadline:
            raise LabError(f"The ranks were not done in {MOST_SECONDS:.0f} s.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(
                process for process, state in zip(started, states, strict=True) if state is None
            ).wait(0.2)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill the ranks with everything that they started: each rank leads a session."""
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
