"""Messages of ranks to the launcher: each rank writes JSON lines to a file.

{"pid": 1} first · {"part": "ddp"} a part begins · {"end": "ddp", "wrong": […]} it ends ·
{"unusable": "…", "advice": "…"} it cannot run · {"at": "step 3"} progress · {"line": "…"} a line
of output · {"done": true} the last message, or {"raised": 5.0} if an exception ends the rank (on
the rig's monotonic clock). Unlike a pipe, a file outlives its rank and never blocks it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict


def progress_file(folder: Path, rank: int) -> Path:
    """Return the file of a rank's messages."""
    return folder / f"rank-{rank}.progress"


def stack_file(folder: Path, rank: int) -> Path:
    """Return the file to which a rank writes its stacks on SIGUSR1."""
    return folder / f"rank-{rank}.stack"


def log_file(folder: Path, rank: int) -> Path:
    """Return the file of a rank's standard output and error."""
    return folder / f"rank-{rank}.log"


class ProgressMessage(TypedDict, total=False):
    """A line of a rank's progress file: pid, or part, or end with wrong, and so on.

    wrong: a text for each measurement with wrong values. raised: when an exception ended the rank
    (monotonic). at: what the rank does now.
    """

    pid: int
    part: str
    end: str
    wrong: list[str]
    unusable: str
    advice: str
    done: bool
    raised: float
    at: str
    line: str


class ProgressWriter:
    """Writes a rank's messages. Without a folder, lines of output go to standard output."""

    def __init__(self, folder: Path | None, rank: int) -> None:
        self._file: int | None = None
        if folder is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(progress_file(folder, rank), flags, 0o644)
        self._write({"pid": os.getpid()})

    def begin(self, part: str) -> None:
        """Report that a part begins."""
        self._write({"part": part})

    def end(self, part: str, wrong: Sequence[str] = ()) -> None:
        """Report that a part ends; `wrong` describes wrong values."""
        self._write({"end": part, "wrong": list(wrong)})

    def report_unusable(self, message: str, advice: str) -> None:
        """Report that the current part cannot run here."""
        if self._file is None:
            print(f"{message}. {advice}", flush=True, file=sys.stderr)
        self._write({"unusable": message, "advice": advice})

    def report_done(self) -> None:
        """Report that all parts are done."""
        self._write({"done": True})

    def report_exception(self) -> None:
        """Report that an exception ends this rank; ranks that wait for it may follow."""
        self._write({"raised": time.monotonic()})

    def report_position(self, what: str) -> None:
        """Report what the rank does now. Not while time is measured."""
        self._write({"at": what})

    def line(self, text: str) -> None:
        """Print a line."""
        if self._file is None:
            print(text, flush=True, file=sys.stdout)
        self._write({"line": text})

    def _write(self, message: ProgressMessage) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(message).encode() + b"\n")


class ProgressReader:
    """Reads the new messages of one rank."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0

    def read_messages(self) -> Iterator[ProgressMessage]:
        """Yield the messages of new complete lines."""
        try:
            with self._file.open("rb") as opened:
                opened.seek(self._offset)
                data = opened.read()
        except FileNotFoundError:
            return
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            yield json.loads(line)
