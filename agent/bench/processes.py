"""Processes by /proc and prctl: nothing that was started is left running. Linux only.

The launcher is a subreaper: whoever loses its parent below it becomes its child, so a walk over
descendants finds all, also after a torchrun that was killed. Ranks and torchrun die with their
parent (PR_SET_PDEATHSIG), so that nothing is left after a launcher that was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
POLL_SECONDS = 0.02
TERM_SECONDS = 2.0  # ranks keep nothing that is worth a longer wait
# The driver takes a killed program's memory back first, and where its kernel still runs, or its GPU
# has an Xid, only after timeouts of its own. What is there after this is told, not waited for.
KILL_SECONDS = 20.0


def _prctl(option: int, argument: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, argument, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def end_with_parent() -> None:
    """Be killed when the parent ends, however it ends."""
    parent = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> None:
    """Descendants whose parents end become this process's children."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def state(pid: int) -> str:
    """A process's state as `ps` names it, "R (running)"; "gone" where there is none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "gone"
    return next(
        (line.split(None, 1)[1] for line in status.splitlines() if line.startswith("State:")),
        "gone",
    )


def kernel_wait(pid: int) -> str:
    """The kernel's function that a process waits in (wchan); empty where that can't be read."""
    try:
        name = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return "" if name == "0" else name


def descendants(pid: int) -> list[int]:
    """All processes below this one, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children[parent].append(int(folder.name))
    found = children[pid]
    for one in found:  # grows meanwhile
        found += children[one]
    return found


def _parent(folder: Path) -> int | None:
    try:
        # The command's name stands in parentheses, and may hold any character.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def end_descendants(spared: Container[int] = ()) -> list[int]:
    """End everything below this process; those that even SIGKILL does not end, after a while.

    SIGTERM, then SIGKILL; a stopped process gets SIGCONT, too, so that it can end. Not for threads.
    """
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        until = time.monotonic() + seconds
        told: set[int] = set()
        while living := _reaped([one for one in descendants(os.getpid()) if one not in spared]):
            for pid in living:  # killed again and again: some may have been started meanwhile
                if pid not in told or number == signal.SIGKILL:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                        os.kill(pid, signal.SIGCONT)
                    told.add(pid)
            if time.monotonic() > until:
                break
            time.sleep(POLL_SECONDS)
        else:
            return []
    return living


def _reaped(pids: list[int]) -> list[int]:
    """Those that still run; the others' parents, this process among them, have been told."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [pid for pid in pids if not state(pid).startswith(("gone", "Z", "X"))]
