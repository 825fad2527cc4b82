"""The summary of the last validation, which `fab validate` or the rig's timer writes.

It is a small JSON file, /var/lib/deeprig/validation/summary.json; docs/validation.md describes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.readings.pcie import raise_exhausted

FORMAT, FORMAT_VERSION = "deeprig-validation-summary", 1
STATUSES = ("ok", "warning", "critical", "unknown")
FILE_MOST_BYTES = 1 << 20
DIRECTIONS = ("host_to_device", "device_to_host")


@dataclass(frozen=True)
class Validation:
    """How the last validation ended.

    counts: checks by status. failing: titles of the critical ones. finished_at: Unix seconds.
    copies: bytes per second by (GPU's PCIe address, direction), from and to pinned memory.
    """

    plan: str
    finished_at: float
    duration_seconds: float
    counts: Mapping[str, int]
    failing: tuple[str, ...]
    copies: Mapping[tuple[str, str], float]


class ValidationReader:
    """Reads the summary repeatedly, and the file only when it has changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._validation: Validation | None = None

    def read(self) -> Validation | None:
        """Return the summary; None if the file is missing or cannot be read."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._validation = None
                self._stamp = stamp
                if status.st_size <= FILE_MOST_BYTES:
                    self._validation = parse(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            self._stamp = self._validation = None
        except OSError as error:  # read it again the next time, even if the file does not change
            self._stamp = self._validation = None
            raise_exhausted(error)
        except (ValueError, RecursionError):
            self._validation = None
        return self._validation


def parse(document: Any) -> Validation:
    """Return a summary. Raises ValueError if the document is not one of this version."""
    try:
        if document["format"] != FORMAT or document["version"] != FORMAT_VERSION:
            raise ValueError(f"not a {FORMAT} of version {FORMAT_VERSION}")
        return Validation(
            plan=str(document["plan"]),
            finished_at=float(document["finished_at"]),
            duration_seconds=float(document["finished_at"]) - float(document["started_at"]),
            counts={status: int(document["counts"][status]) for status in STATUSES},
            failing=tuple(str(title) for title in document["failing"]),
            copies={
                (str(copy["gpu"]), copy["direction"]): float(copy["bandwidth_bytes_per_second"])
                for copy in document["copies"]
                if copy["direction"] in DIRECTIONS
            },
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"missing or invalid in the summary: {error}") from None
