"""The log of a run: one file, a JSON object a line, secrets masked before they get here."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path
from types import TracebackType

from provision.engine.reports.records import NoteRecord, OutcomeRecord
from provision.errors import DeeprigError
from provision.output.files import make_private


class RunLog:
    """A file in the log folder, named after the time, the verb and the hosts. Mode 0600."""

    def __init__(self, folder: Path, verb: str, hosts: list[str]) -> None:
        who = re.sub(r"[^\w.-]", "_", "+".join(hosts))[:60]
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self.path = folder / f"{stamp}-{verb}-{who}-{os.getpid()}.jsonl"
        try:
            make_private(folder)
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise DeeprigError(
                f"can't write the log {self.path}: {error.strerror}",
                advice="Make deeprig's folder writable for you.",
            ) from None
        self._lock = threading.Lock()  # hosts' threads, and the main one when it is interrupted
        self._file = os.fdopen(handle, "w", encoding="utf-8")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def outcome(self, record: OutcomeRecord) -> None:
        """Write the record of a completed task."""
        self._write(record)

    def note(self, host: str, text: str) -> None:
        """Anything else."""
        self._write({"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "host": host, "note": text})

    def _write(self, record: OutcomeRecord | NoteRecord) -> None:
        line = json.dumps(record, default=str) + "\n"
        with self._lock:
            self._file.write(line)
            self._file.flush()  # a run that is cut off leaves what was known
