"""The summary of the last validation, which `fab validate` or the rig's timer writes.

It is a small JSON file, /var/lib/deeprig/validation/summary.json; docs/validation.md describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT, FORMAT_VERSION = "deeprig-validation-summary", 1
STATUSES = ("ok", "warning", "critical", "unknown")
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
