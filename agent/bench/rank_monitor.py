"""The launcher's picture of the ranks on this rig: how far each is, how it is, where it waits."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.bench import processes
from agent.bench.progress import ProgressReader, log_file, progress_file, stack_file

STACK_SECONDS = 3.0  # for a rank to write its stacks
LOG_LINES = 20
STACK_MOST = 8000  # characters
POLL_SECONDS = 0.05


@dataclass
class RankProgress:
    """One rank. steps: how far it is, lines for people aside, which only rank 0 says.

    heard_at: when it said something last (monotonic). raised_at: when an exception ended it.
    """

    number: int
    follower: ProgressReader
    pid: int = 0
    at: str = "start"
    steps: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    done: bool = False
    raised_at: float | None = None


class RankMonitor:
    """All ranks that have said something in the job's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ranks: dict[int, RankProgress] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def news(self) -> Iterator[tuple[RankProgress, Mapping[str, Any]]]:
        """What they have said since the last time, rank by rank."""
        for file in self._folder.glob("rank-*.progress"):
            match = re.fullmatch(r"rank-(\d+)\.progress", file.name)
            if match and int(match[1]) not in self._ranks:
                number = int(match[1])
                self._ranks[number] = RankProgress(
                    number, ProgressReader(progress_file(self._folder, number))
                )
        for number in sorted(self._ranks):
            rank = self._ranks[number]
            for message in rank.follower.news():
                rank.steps += "line" not in message
                rank.heard_at = time.monotonic()
                rank.pid = message.get("pid", rank.pid)
                rank.at = message.get("at", rank.at)
                rank.raised_at = message.get("raised", rank.raised_at)
                rank.done = rank.done or "done" in message
                yield rank, message

    @property
    def first(self) -> int:
        """The least number among them."""
        return min(self._ranks)

    def heard_at(self) -> float:
        """When any rank was last heard of; 0 while none was."""
        return max((rank.heard_at for rank in self._ranks.values()), default=0.0)

    def raised(self) -> dict[int, float]:
        """When each rank that an exception ended said so (monotonic)."""
        return {
            rank.number: rank.raised_at
            for rank in self._ranks.values() if rank.raised_at is not None
        }  # fmt: skip

    def gone(self) -> list[int]:
        """Ranks that ended before they were done."""
        return [
            rank.number
            for rank in self._ranks.values()
            if rank.pid and not rank.done
            and processes.state(rank.pid).startswith(("gone", "Z", "X"))
        ]  # fmt: skip

    def describe(self, statuses: Mapping[int, int], stacks: bool) -> dict[str, dict[str, Any]]:
        """Each rank for a problem's "ranks". With `stacks` they are asked where they are."""
        running = {
            rank.number: processes.state(rank.pid) for rank in self._ranks.values() if rank.pid
        }
        waits = {rank.number: processes.kernel_wait(rank.pid) for rank in self._ranks.values()}
        if stacks:
            self._ask_for_stacks()
        described = {}
        for number, rank in sorted(self._ranks.items()):
            described[str(number)] = {
                "state": running.get(number, "gone"),
                "exit": statuses.get(number),
                "at": rank.at,
                "kernel_wait": waits[number],
                "stack": tail(stack_file(self._folder, number), STACK_MOST),
                "log_tail": last_lines(log_file(self._folder, number)),
            }
        return described

    def behind(self) -> list[int]:
        """Ranks that are not as far as others: these are waited for."""
        most = max((rank.steps for rank in self._ranks.values()), default=0)
        return [number for number, rank in sorted(self._ranks.items()) if rank.steps < most]

    def _ask_for_stacks(self) -> None:
        """faulthandler writes them (rank.py). A rank that is stopped does not answer."""
        asked = []
        for rank in self._ranks.values():
            # Before its first message a rank has no handler, and the signal would kill it.
            if rank.pid and processes.state(rank.pid).startswith(("R", "S")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rank.pid, signal.SIGUSR1)
                    asked.append(stack_file(self._folder, rank.number))
        until = time.monotonic() + STACK_SECONDS
        while time.monotonic() < until and not all(_whole(file) for file in asked):
            time.sleep(POLL_SECONDS)


def _whole(stack: Path) -> bool:
    """faulthandler ends with the thread that runs rank.py."""
    try:
        return "in _run_module_as_main" in stack.read_text(errors="replace")
    except OSError:
        return False


def tail(file: Path, most: int) -> str:
    """The last characters of a file; empty where there is none."""
    try:
        return file.read_text(errors="replace")[-most:]
    except OSError:
        return ""


def last_lines(file: Path) -> str:
    """The last lines of a log."""
    return "\n".join(tail(file, STACK_MOST).splitlines()[-LOG_LINES:])
