"""What ends a run from outside: signals, the end of standard input, time, another program's job."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from types import FrameType

from agent.bench.processes import KILL_SECONDS, end_with_parent

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptionMonitor:
    """Asked again and again while a job runs. Not for threads.

    deadline_seconds: of the whole run, from now. input_too: the end of standard input ends the
    run, as it does when the SSH session that holds it breaks. jobs_too: so does a program of
    somebody else's on the GPUs.
    """

    def __init__(self, deadline_seconds: float, *, input_too: bool, jobs_too: bool) -> None:
        self._until = time.monotonic() + deadline_seconds
        self.signal = 0
        self._others = ""
        for number in SIGNALS:
            signal.signal(number, self._note)
        self._input = sys.stdin.fileno() if input_too and _has_other_end() else None
        self._looker = _start_looker() if jobs_too else None
        self._told, self._looked = b"", False

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._until - time.monotonic()

    def interrupted(self) -> bool:
        """Whether to end at once. `signal` then says by what."""
        if self._input is not None and select.select([self._input], [], [], 0)[0]:
            try:
                ended = not os.read(self._input, 65536)
            except OSError:
                ended = True
            if ended:
                self.signal, self._input = self.signal or signal.SIGTERM, None
        return bool(self.signal)

    def others(self) -> str:
        """Who else works on the GPUs, in words; empty while nobody does, or nobody looks."""
        if self._looker is not None and not self._others:
            output = self._looker.stdout
            assert output is not None
            while select.select([output], [], [], 0)[0] and (
                data := os.read(output.fileno(), 4096)
            ):
                *lines, self._told = (self._told + data).split(b"\n")
                self._looked = self._looked or bool(lines)
                self._others = next((text for text in map(json.loads, lines) if text), self._others)
        return self._others

    def first_look(self, seconds: float) -> str:
        """The same, after waiting until somebody has looked."""
        until = time.monotonic() + seconds
        while (
            self._looker is not None and not self._looked and (left := until - time.monotonic()) > 0
        ):
            assert self._looker.stdout is not None
            select.select([self._looker.stdout], [], [], left)
            if self._looker.poll() is not None:  # it can't look, and has said why
                break
            self.others()
        return self.others()

    @property
    def spared(self) -> set[int]:
        """Processes that go on when a job is ended."""
        return {self._looker.pid} if self._looker is not None else set()

    def close(self) -> None:
        """End what watches."""
        if self._looker is not None:
            self._looker.kill()
            # A call to the driver that hangs in the kernel can't be killed, and is not waited for.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._looker.wait(KILL_SECONDS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number


def _has_other_end() -> bool:
    """Whether somebody can hold standard input open: a pipe or a socket, no file or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _start_looker() -> subprocess.Popen[bytes]:
    """NVML is asked in a process of its own: a call that hangs hangs there."""
    return subprocess.Popen(
        [sys.executable, "-m", "agent.bench.idle"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0, start_new_session=True,
        preexec_fn=end_with_parent,
    )  # fmt: skip
