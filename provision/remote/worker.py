"""The worker: takes units of work over its standard input, does them in order, tells how it goes.

It runs from memory and leaves nothing behind. When the operator's side goes away in the middle, or
is silent for a minute, it ends the task at hand (a half-installed package is worse than a late one)
and starts no other. Only one worker with root's rights may change a rig at a time: it holds the
rig's lock (provision/remote/lock.py).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO, NamedTuple

from provision.remote.frames import (
    GREETING,
    HEARTBEAT,
    BadFrame,
    Frame,
    Unit,
    UnitAnswer,
    pack,
    unpack,
)
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.lock import Lock, LockError

INTERVAL = 0.2  # seconds between two looks at what there is to tell
PATIENCE = 60.0  # seconds without a sign of life, after which the operator's side is gone
POLL = 1.0  # seconds between two attempts to take a lock whose holder is leaving


class _CurrentUnit(NamedTuple):
    """The unit at hand. began: by the monotonic clock."""

    id: list[int]
    began: float


class Worker:
    """One session's worker, between the stream it reads and the stream it writes."""

    def __init__(
        self,
        reader: BinaryIO,
        writer: BinaryIO,
        interval: float = INTERVAL,
        rig_lock: Lock | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._rig_lock = rig_lock
        self._patience = patience
        self._heard_at = time.monotonic()
        self._reader = reader
        self._writer = writer
        self._interval = interval
        self._batches: queue.Queue[Frame | None] = queue.Queue()
        self._gone = threading.Event()  # the operator's side has left, or takes its leave
        self._lock = threading.Lock()  # guards all below
        self._batch = 0
        self._results: list[UnitAnswer] = []
        self._current: _CurrentUnit | None = None
        self._line = ""
        self._spoke_at = time.monotonic()
        self._state: dict[Any, Any] = {}

    def serve(self) -> None:
        """Work until the operator's side sends bye or leaves."""
        self._heard_at = time.monotonic()  # what was sent while the lock was waited for is unread
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._tell, daemon=True).start()
        while True:
            frame = self._batches.get()
            if frame is None:
                return
            self._do(frame)

    def say(self, frame: Frame) -> None:
        """Write one frame, if the other side is still there."""
        self._spoke_at = time.monotonic()
        try:
            self._writer.write(pack(frame))
            self._writer.flush()
        except (OSError, ValueError):
            self._gone.set()

    def is_alone(self, seconds: float) -> bool:
        """Wait; return whether the operator's side has left."""
        return self._gone.wait(seconds)

    def _read(self) -> None:
        # Anything but a frame ends it, too: a worker without an operator must not stay.
        with contextlib.suppress(BadFrame, OSError):
            while (frame := unpack(self._reader.read)) and frame.get("op") != "bye":
                self._heard_at = time.monotonic()
                if self._rig_lock:
                    self._rig_lock.touch()
                if frame.get("op") != "alive":
                    self._batches.put(frame)
        self._leave()

    def _leave(self) -> None:
        """Stop after the current unit: the operator's side is gone."""
        self._gone.set()
        if self._rig_lock:
            self._rig_lock.note_end()
        self._batches.put(None)

    def _tell(self) -> None:
        """While a batch lasts, tell what is new; sign of life when nothing is."""
        while not self._gone.wait(self._interval):
            if time.monotonic() - self._heard_at > self._patience:
                self._leave()
            with self._lock:
                quiet = time.monotonic() - self._spoke_at
                if self._current and (self._results or self._line or quiet > HEARTBEAT):
                    self._report(done=False)

    def _report(self, done: bool) -> None:
        """Tell the results so far (the caller holds the lock)."""
        current = None
        if self._current is not None and not done:
            elapsed = time.monotonic() - self._current.began
            current = {"id": self._current.id, "elapsed": elapsed, "line": self._line}
        self.say({"batch": self._batch, "results": self._results, "current": current, "done": done})
        self._results = []
        self._line = ""

    def _do(self, frame: Frame) -> None:
        units: list[Unit] = frame["units"]
        self._batch = frame["batch"]
        failed_id = None
        for unit in units:
            if self._gone.is_set():
                return
            # A loop goes on to its last item; what follows a failed task does not run.
            if failed_id is not None and unit["id"][0] != failed_id:
                break
            began = time.monotonic()
            with self._lock:
                self._current = _CurrentUnit(unit["id"], began)
            result = self._run(unit, units)
            with self._lock:
                elapsed = time.monotonic() - began
                self._results.append({"id": unit["id"], "result": result, "elapsed": elapsed})
                self._current = None
            if result.get("failed") and not unit.get("ignore_errors"):
                failed_id = unit["id"][0]
        with self._lock:
            self._report(done=True)

    def _run(self, unit: Unit, units: list[Unit]) -> Result:
        host = ModuleHost(
            check=unit.get("check", False),
            diff=unit.get("diff", False),
            environment=unit.get("environment"),
            batch=units,
            state=self._state,
            on_line=self._progress,
        )
        try:
            module = importlib.import_module("provision.remote.modules." + unit["module"])
            result: Result = dict(module.run(unit["args"], host))
        except ModuleFailure as failure:
            result = {"failed": True, "msg": failure.msg, **failure.result}
        except Exception as error:  # a fault of ours, or a rig stranger than we thought
            result = {
                "failed": True,
                "msg": f"{unit['module']} broke on this rig: {type(error).__name__}: {error}",
                "exception": traceback.format_exc(),
            }
        result.setdefault("changed", False)
        if host.warnings:
            result["warnings"] = host.warnings
        # failed_when and changed_when, where they need no template.
        if unit.get("failed_when") is not None:
            result["failed"] = unit["failed_when"]
        if unit.get("changed_when") is not None:
            result["changed"] = unit["changed_when"]
        return result

    def _progress(self, line: str) -> None:
        self._line = line[:200]


def take_lock(lock: Lock, worker: Worker) -> str:
    """Take the rig's lock; who holds it, when a run with an operator does.

    A run whose operator is gone ends after the task at hand: wait for it, and report that.
    """
    began = time.monotonic()
    while True:
        holder = lock.take()
        if holder is None:
            return ""
        if not holder.is_leaving:
            return str(holder)
        worker.say({"waiting": {"holder": str(holder), "seconds": time.monotonic() - began}})
        if worker.is_alone(POLL):
            sys.exit(0)


def boot_id() -> str:
    """Return the kernel's id of this boot; '' where it can't be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def main(reader: BinaryIO, operator: str) -> None:
    """Serve on standard input and output, which are kept for frames alone.

    operator: the name for the rig's lock; "" for a session that only reads and takes none.
    """
    writer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints by mistake does not break the frames
    writer.write(GREETING)  # what comes before it was written by the login shell
    os.umask(0o022)
    os.chdir("/")
    lock, busy, problem = None, "", ""
    if operator and os.geteuid() == 0:
        try:
            lock = Lock(operator)
        except LockError as error:
            problem = f"the rig's lock can't be taken: {error}"
    worker = Worker(reader, writer, rig_lock=lock)
    if lock:
        busy = take_lock(lock, worker)
    worker.say(
        {
            "hello": {
                "python": ".".join(map(str, sys.version_info[:3])),
                "pid": os.getpid(),
                "uid": os.geteuid(),
                "boot_id": boot_id(),
                "busy": busy,
                "problem": problem,
            }
        }
    )
    if not busy and not problem:
        worker.serve()
