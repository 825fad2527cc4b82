"""Processes that the lab started, identified by pid and start time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def write_pid(file: Path, pid: int) -> None:
    """Write a process to a file, with its start time: a pid alone may be reused."""
    file.write_text(f"{pid} {start_time(pid)}\n")


def running(file: Path) -> int | None:
    """Return the pid of a file's process if it still runs."""
    try:
        pid, started = file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if start_time(int(pid)) == started else None


def end(file: Path, seconds: float, by: signal.Signals = signal.SIGTERM) -> bool:
    """End a file's process and wait for it; return False if it does not end in time."""
    pid = running(file)
    if pid is None:
        return True
    os.kill(pid, by)
    deadline = time.monotonic() + seconds
    while running(file) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # if this process started it
    return True
