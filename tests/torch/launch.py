"""A running launcher, as a test sees it: its events, its processes, its end."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.bench import processes
from agent.bench.entries import BenchDocument
from tests.unit.agent.web.server import wait_for

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120.0


class BenchProcess:
    """`python -m agent.bench --events …`, and its events so far."""

    def __init__(self, folder: Path, words: list[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.seen: list[int] = []  # all processes below it that were ever looked at
        variables = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent.bench", "--events", *words],
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._queue: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(b"")

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next event that meets the condition."""
        while line := self._queue.get(timeout=PATIENCE_SECONDS):
            self.events.append(json.loads(line))
            if condition(self.events[-1]):
                return self.events[-1]
        raise AssertionError(f"it ended: {self.events}, {self.read_errors()}")

    def wait_for_begin(self, part: str) -> None:
        """Wait until a part has begun."""
        self.until(lambda event: event["event"] == "begin" and event["part"] == part)

    def wait_for_ranks(self, ranks: int) -> None:
        """Wait until so many ranks have sent their first event, which is before they load PyTorch:
        from there on they end with their parents.
        """
        wait_for(
            lambda: len(list(self.folder.glob("*/rank-*.progress"))) == ranks, f"{ranks} ranks"
        )
        self.seen += processes.list_descendants(self.process.pid)

    def find_rank(self, number: int) -> int:
        """Return the pid of a rank."""

        def find() -> int | None:
            self.seen += processes.list_descendants(self.process.pid)
            for pid in reversed(self.seen):
                if f"RANK={number}" in read_words(pid, "environ"):
                    return pid
            return None

        rank_pid: int = wait_for(find, f"rank {number}")
        return rank_pid

    def find_torchrun(self) -> int:
        """Return the pid of torchrun."""
        self.seen += processes.list_descendants(self.process.pid)
        (pid,) = [
            pid for pid in set(self.seen) if "torch.distributed.run" in read_words(pid, "cmdline")
        ]
        return pid

    def wait_for_document(self) -> BenchDocument:
        """Wait for the end; return the document."""
        document: BenchDocument
        document = self.until(lambda event: event["event"] == "document")["document"]
        self.process.wait(PATIENCE_SECONDS)
        return document

    def read_errors(self) -> str:
        """Return its standard error; call it after its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def list_survivors(self) -> list[int]:
        """Return the processes that were started below it and still run."""
        return [pid for pid in set(self.seen) if is_running(pid)]


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    return not processes.read_state(pid).startswith(("gone", "Z", "X"))


def read_words(pid: int, file: str) -> list[str]:
    """Return the texts of a file of /proc, which a zero byte ends."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


@contextmanager
def launch(folder: Path, *words: str, **environment: str) -> Iterator[BenchProcess]:
    """Start a launcher in a folder; kill all of it after the block."""
    bench = BenchProcess(folder, list(words), environment)
    try:
        yield bench
    finally:
        for pid in [
            bench.process.pid,
            *bench.seen,
            *processes.list_descendants(bench.process.pid),
        ]:
            if not processes.read_state(pid).startswith("gone"):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        bench.process.wait()
        for stream in (bench.process.stdin, bench.process.stderr):
            if stream is not None:
                stream.close()
