"""The last validation's summary, which `fab validate` or the rig's timer leaves.

One small JSON file, /var/lib/deeprig/validation/summary.json; docs/validation.md has its format.
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
    """Reads the summary again and again; only when it is new."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._known: Validation | None = None

    def read(self) -> Validation | None:
        """What the file holds; None where there is none, or none that can be read."""
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._known = None
                self._stamp = stamp
                if status.st_size <= FILE_MOST_BYTES:
                    self._known = parse(json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            self._stamp = self._known = None
        except OSError as error:  # read again the next time, even if the file stays as it is
            self._stamp = self._known = None
            raise_exhausted(error)
        except (ValueError, RecursionError):
            self._known = None
        return self._known


def parse(document: Any) -> Validation:
    """A summary. Raises ValueError where it is none of this version."""
    try:
        if document["format"] != FORMAT or document["version"] != FORMAT_VERSION:
            raise ValueError(f"no {FORMAT} of version {FORMAT_VERSION}")
        return Validation(
            plan=str(document["plan"]),
            finished_at=float(document["finished_at"]),
            duration_seconds=float(document["finished_at"]) - float(document["started_at"]),
            counts={status: int(document["counts"][status]) for status in STATUSES},
            failing=tuple(str(title) for title in document["failing"]),
            copies={
                (str(one["gpu"]), one["direction"]): float(one["bandwidth_bytes_per_second"])
                for one in document["copies"]
                if one["direction"] in DIRECTIONS
            },
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the summary lacks or garbles {error}") from None
