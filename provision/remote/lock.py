"""The rig's lock: one run at a time changes a rig, and a run whose operator is gone is waited for.

It is in a folder that only root may enter: in /run/lock any user could hold it, or replace it by a
link. The kernel releases it when the process that holds it ends, however it ends. The file names
the run that holds it; its modification time is the last sign of life of that run's operator.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import NamedTuple

from provision.remote.trust import RUN_FOLDER, open_private

NAME = "lock"
#: Seconds without a sign of life (three heartbeats), after which an operator may be gone.
QUIET = 15.0


class LockError(Exception):
    """The lock can't be taken on this rig, for a reason other than another run."""


class Holder(NamedTuple):
    """The run that holds the lock. quiet: seconds since its operator was heard."""

    by: str
    since: str
    pid: int
    ending: bool
    quiet: float

    @property
    def is_leaving(self) -> bool:
        """Whether its operator is gone, or may be."""
        return self.ending or self.quiet > QUIET

    def __str__(self) -> str:
        return f"by {self.by} since {self.since}, process {self.pid} there"


class Lock:
    """The lock of this process. Raises LockError where the folder is not root's alone."""

    def __init__(self, operator: str, folder: str = RUN_FOLDER) -> None:
        self._operator = operator
        self._since = time.strftime("%H:%M:%S")
        self._held = False
        try:
            parent = open_private(folder)
            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._handle = os.open(NAME, flags, 0o600, dir_fd=parent)
            finally:
                os.close(parent)
        except OSError as error:
            raise LockError(f"{folder}/{NAME}: {error.strerror}") from None

    def take(self) -> Holder | None:
        """Take it; None when that succeeded, else who holds it."""
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return self._holder()
        self._held = True
        self._write(ending=False)
        return None

    def touch(self) -> None:
        """Note that the operator was heard."""
        if self._held:
            os.utime(self._handle)

    def note_end(self) -> None:
        """Note that the operator is gone: the task at hand is the last one."""
        if self._held:
            self._write(ending=True)

    def _write(self, ending: bool) -> None:
        text = json.dumps(
            {"by": self._operator, "since": self._since, "pid": os.getpid(), "ending": ending}
        )
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text.encode(), 0)

    def _holder(self) -> Holder:
        quiet = max(0.0, time.time() - os.fstat(self._handle).st_mtime)
        try:
            record = json.loads(os.pread(self._handle, 1000, 0).decode("utf-8", "replace"))
            return Holder(
                str(record["by"]),
                str(record["since"]),
                int(record["pid"]),
                bool(record["ending"]),
                quiet,
            )
        except (ValueError, KeyError, TypeError):  # it is being written
            return Holder("another operator", "now", 0, False, quiet)
