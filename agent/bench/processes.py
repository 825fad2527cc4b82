"""Ends every process that a run started, with /proc and prctl. Linux only.

The launcher is a subreaper: a descendant that loses its parent becomes its child, so all processes
are found, even after torchrun was killed. Ranks and torchrun die with their parent
(PR_SET_PDEATHSIG), so that nothing is left if the launcher is killed.
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
TERM_SECONDS = 2.0  # ranks have nothing to save
# The driver first frees a killed program's memory; if a kernel still runs, or the GPU has an Xid,
# only after the driver's timeouts. Processes that remain after this time are reported.
KILL_SECONDS = 20.0


def _prctl(option: int, argument: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, argument, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    parent = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def become_subreaper() -> None:
    """Become the parent of descendants whose parents end."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def read_state(pid: int) -> str:
    """Return a process' state as in /proc, such as "R (running)"; "gone" if it does not exist."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "gone"
    return next(
        (line.split(None, 1)[1] for line in status.splitlines() if line.startswith("State:")),
        "gone",
    )


def read_kernel_wait(pid: int) -> str:
    """Return the kernel function that a process waits in (wchan); empty if it is not readable."""
    try:
        name = Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return "" if name == "0" else name


def list_descendants(pid: int) -> list[int]:
    """Return all descendants of a process, parents first."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children[parent].append(int(folder.name))
    members = children[pid]
    for member in members:  # the list grows meanwhile
        members += children[member]
    return members


def _parent(folder: Path) -> int | None:
    try:
        # The command's name is in parentheses and can contain any character.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return None


def end_descendants(spared: Container[int] = ()) -> list[int]:
    """End all descendants; return those that SIGKILL did not end in time.

    They get SIGTERM, then SIGKILL, and SIGCONT, so that a stopped process can end. Not thread-safe.
    """
    for number, seconds in ((signal.SIGTERM, TERM_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        until = time.monotonic() + seconds
        signalled: set[int] = set()
        while living := _list_living(spared):
            for pid in living:  # repeatedly: new processes may have been started
                if pid not in signalled or number == signal.SIGKILL:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                        os.kill(pid, signal.SIGCONT)
                    signalled.add(pid)
            if time.monotonic() > until:
                break
            time.sleep(POLL_SECONDS)
        else:
            return []
    return living


def _list_living(spared: Container[int]) -> list[int]:
    """Return the descendants that still run, after reaping children that ended."""
    pids = [pid for pid in list_descendants(os.getpid()) if pid not in spared]
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return [pid for pid in pids if not read_state(pid).startswith(("gone", "Z", "X"))]
