"""Processes that the lab started: found again by pid and start time, ended by nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def write_pid(file: Path, pid: int) -> None:
    """Note a process, so that a later `running` can't take another one for it."""
    file.write_text(f"{pid} {start_time(pid)}\n")


def running(file: Path) -> int | None:
    """Return the pid of the noted process if it still runs."""
    try:
        pid, started = file.read_text().split()
    except (OSError, ValueError):
        return None
    return int(pid) if start_time(int(pid)) == started else None


def end(file: Path, seconds: float) -> bool:
    """Ask the noted process to end and wait for it; False if it did not in time."""
    pid = running(file)
    if pid is None:
        return True
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while running(file) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)  # if this process is the one that started it
    return True
