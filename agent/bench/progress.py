"""What ranks tell while they run: one file of JSON lines a rank, which the launcher follows.

{"pid": 1} the first · {"part": "ddp"} a part begins · {"end": "ddp", "wrong": […]} and ends ·
{"unusable": "…", "advice": "…"} it can't be run · {"at": "step 3"} a sign of life · {"line": "…"} a
line of a table for people · {"done": true} the last, or {"raised": 5.0} where it ends by an
exception, by the rig's monotonic clock. A file and no pipe: it outlives its rank, and a launcher
that is slow holds nobody up.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def progress_file(folder: Path, rank: int) -> Path:
    """Where a rank tells how far it is."""
    return folder / f"rank-{rank}.progress"


def stack_file(folder: Path, rank: int) -> Path:
    """Where a rank writes its stacks when it gets SIGUSR1."""
    return folder / f"rank-{rank}.stack"


def log_file(folder: Path, rank: int) -> Path:
    """A rank's standard output and error."""
    return folder / f"rank-{rank}.log"


class ProgressWriter:
    """The rank's end. Without a folder the lines of tables go to standard output."""

    def __init__(self, folder: Path | None, rank: int) -> None:
        self._file: int | None = None
        if folder is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.open(progress_file(folder, rank), flags, 0o644)
        self._tell({"pid": os.getpid()})

    def begin(self, part: str) -> None:
        """A part begins."""
        self._tell({"part": part})

    def end(self, part: str, wrong: Sequence[str] = ()) -> None:
        """A part ends; what was wrong in it, in words."""
        self._tell({"end": part, "wrong": list(wrong)})

    def unusable(self, message: str, advice: str) -> None:
        """The part that has begun can't be run here."""
        if self._file is None:
            print(f"{message}. {advice}", flush=True, file=sys.stderr)
        self._tell({"unusable": message, "advice": advice})

    def done(self) -> None:
        """All parts are over."""
        self._tell({"done": True})

    def raised(self) -> None:
        """An exception ends this rank; others' may follow, for they wait for it."""
        self._tell({"raised": time.monotonic()})

    def at(self, what: str) -> None:
        """A sign of life: what is done now. Not for measured stretches."""
        self._tell({"at": what})

    def line(self, text: str) -> None:
        """A line for people."""
        if self._file is None:
            print(text, flush=True, file=sys.stdout)
        self._tell({"line": text})

    def _tell(self, message: dict[str, Any]) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(message).encode() + b"\n")


class ProgressReader:
    """The launcher's end: what one rank has told since it was last asked."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0

    def news(self) -> Iterator[dict[str, Any]]:
        """Whole lines that are new; half a line waits for its rest."""
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
