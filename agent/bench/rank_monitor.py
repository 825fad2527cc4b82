"""The launcher's view of the ranks on this rig: progress, process state, where each waits."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.bench import processes
from agent.bench.entries import RankState
from agent.bench.progress import (
    ProgressMessage,
    ProgressReader,
    log_file,
    progress_file,
    stack_file,
)

STACK_SECONDS = 3.0  # for a rank to write its stacks
LOG_LINES = 20
STACK_MOST = 8000  # characters
POLL_SECONDS = 0.05


@dataclass
class RankProgress:
    """One rank. steps: its messages, without lines of output, which only rank 0 sends.

    heard_at: when its last message came (monotonic). raised_at: when an exception ended it.
    """

    number: int
    reader: ProgressReader
    pid: int = 0
    at: str = "start"
    steps: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    done: bool = False
    raised_at: float | None = None


class RankMonitor:
    """All ranks that have sent a message to the job's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ranks: dict[int, RankProgress] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def read_messages(self) -> Iterator[tuple[RankProgress, ProgressMessage]]:
        """Yield new messages, rank by rank."""
        for file in self._folder.glob("rank-*.progress"):
            match = re.fullmatch(r"rank-(\d+)\.progress", file.name)
            if match and int(match[1]) not in self._ranks:
                number = int(match[1])
                self._ranks[number] = RankProgress(
                    number, ProgressReader(progress_file(self._folder, number))
                )
        for number in sorted(self._ranks):
            rank = self._ranks[number]
            for message in rank.reader.read_messages():
                rank.steps += "line" not in message
                rank.heard_at = time.monotonic()
                rank.pid = message.get("pid", rank.pid)
                rank.at = message.get("at", rank.at)
                rank.raised_at = message.get("raised", rank.raised_at)
                rank.done = rank.done or "done" in message
                yield rank, message

    @property
    def first(self) -> int:
        """The lowest number of these ranks."""
        return min(self._ranks)

    def find_last_message(self) -> float:
        """Return when the last message of any rank came; 0 if none did."""
        return max((rank.heard_at for rank in self._ranks.values()), default=0.0)

    def list_raised(self) -> dict[int, float]:
        """Return when an exception ended ranks (monotonic), by rank."""
        return {
            rank.number: rank.raised_at
            for rank in self._ranks.values()
            if rank.raised_at is not None
        }

    def list_gone(self) -> list[int]:
        """Return the ranks that ended before they were done."""
        return [
            rank.number
            for rank in self._ranks.values()
            if rank.pid
            and not rank.done
            and processes.read_state(rank.pid).startswith(("gone", "Z", "X"))
        ]

    def describe(self, statuses: Mapping[int, int], stacks: bool) -> dict[str, RankState]:
        """Return each rank for a problem's "ranks". stacks: also request the ranks' stacks."""
        running = {
            rank.number: processes.read_state(rank.pid) for rank in self._ranks.values() if rank.pid
        }
        waits = {rank.number: processes.read_kernel_wait(rank.pid) for rank in self._ranks.values()}
        if stacks:
            self._request_stacks()
        described: dict[str, RankState] = {}
        for number, rank in sorted(self._ranks.items()):
            described[str(number)] = {
                "state": running.get(number, "gone"),
                "exit": statuses.get(number),
                "at": rank.at,
                "kernel_wait": waits[number],
                "stack": read_tail(stack_file(self._folder, number), STACK_MOST),
                "log_tail": read_last_lines(log_file(self._folder, number)),
            }
        return described

    def list_behind(self) -> list[int]:
        """Return the ranks with less progress than others, which the others wait for."""
        most = max((rank.steps for rank in self._ranks.values()), default=0)
        return [number for number, rank in sorted(self._ranks.items()) if rank.steps < most]

    def _request_stacks(self) -> None:
        """Make faulthandler write stacks (rank.py). A stopped rank does not answer."""
        files = []
        for rank in self._ranks.values():
            # Before its first message a rank has no signal handler, and the signal would kill it.
            if rank.pid and processes.read_state(rank.pid).startswith(("R", "S")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rank.pid, signal.SIGUSR1)
                    files.append(stack_file(self._folder, rank.number))
        until = time.monotonic() + STACK_SECONDS
        while time.monotonic() < until and not all(_is_complete(file) for file in files):
            time.sleep(POLL_SECONDS)


def _is_complete(stack: Path) -> bool:
    """Return whether the stack of the main thread, which comes last, is written."""
    try:
        return "in _run_module_as_main" in stack.read_text(errors="replace")
    except OSError:
        return False


def read_tail(file: Path, most: int) -> str:
    """Return the last characters of a file; empty if it cannot be read."""
    try:
        return file.read_text(errors="replace")[-most:]
    except OSError:
        return ""


def read_last_lines(file: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(read_tail(file, STACK_MOST).splitlines()[-LOG_LINES:])
