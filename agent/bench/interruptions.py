"""Reasons to end a run early: signals, the end of standard input, the deadline, other programs."""

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
    """Polled while a job runs. Not thread-safe.

    deadline_seconds: for the whole run, from now. watch_input: the end of standard input ends the
    run, which is what happens if an SSH session breaks. watch_gpus: another program on the GPUs
    ends the run.
    """

    def __init__(self, deadline_seconds: float, *, watch_input: bool, watch_gpus: bool) -> None:
        self._until = time.monotonic() + deadline_seconds
        self.signal = 0
        self._others = ""
        for number in SIGNALS:
            signal.signal(number, self._note)
        self._input = sys.stdin.fileno() if watch_input and _is_input_connected() else None
        self._gpu_monitor = _start_gpu_monitor() if watch_gpus else None
        self._received, self._has_looked = b"", False

    def remaining_seconds(self) -> float:
        """Return the seconds until the deadline."""
        return self._until - time.monotonic()

    def is_interrupted(self) -> bool:
        """Return whether to end at once; `signal` is then the signal's number."""
        if self._input is not None and select.select([self._input], [], [], 0)[0]:
            try:
                ended = not os.read(self._input, 65536)
            except OSError:
                ended = True
            if ended:
                self.signal, self._input = self.signal or signal.SIGTERM, None
        return bool(self.signal)

    def find_other_programs(self) -> str:
        """Return the other programs on the GPUs; empty if there are none, or if nothing watches."""
        if self._gpu_monitor is not None and not self._others:
            output = self._gpu_monitor.stdout
            assert output is not None
            while select.select([output], [], [], 0)[0] and (
                data := os.read(output.fileno(), 4096)
            ):
                *lines, self._received = (self._received + data).split(b"\n")
                self._has_looked = self._has_looked or bool(lines)
                self._others = next((text for text in map(json.loads, lines) if text), self._others)
        return self._others

    def wait_for_other_programs(self, seconds: float) -> str:
        """Return the same, after waiting for the first look at the GPUs."""
        until = time.monotonic() + seconds
        while (
            self._gpu_monitor is not None
            and not self._has_looked
            and (left := until - time.monotonic()) > 0
        ):
            assert self._gpu_monitor.stdout is not None
            select.select([self._gpu_monitor.stdout], [], [], left)
            if self._gpu_monitor.poll() is not None:  # it prints the reason
                break
            self.find_other_programs()
        return self.find_other_programs()

    @property
    def spared_processes(self) -> set[int]:
        """Processes that keep running when a job is ended."""
        return {self._gpu_monitor.pid} if self._gpu_monitor is not None else set()

    def close(self) -> None:
        """End the process that watches the GPUs."""
        if self._gpu_monitor is not None:
            self._gpu_monitor.kill()
            # A driver call that hangs in the kernel cannot be killed; do not wait for it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._gpu_monitor.wait(KILL_SECONDS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number


def _is_input_connected() -> bool:
    """Return whether standard input is a pipe or a socket, not a file or /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _start_gpu_monitor() -> subprocess.Popen[bytes]:
    """Start a separate process that asks NVML, so that a hanging call does not block the run."""
    return subprocess.Popen(
        [sys.executable, "-m", "agent.bench.idle"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
