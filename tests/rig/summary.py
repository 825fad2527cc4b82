"""A report's summary, which the agent on the rig exports (agent/readings/validation.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.readings.validation import FORMAT, FORMAT_VERSION


def summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report's summary: counts, failing checks, and the copies' bandwidths."""
    bench = document.get("bench") or {}
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "plan": document["plan"],
        "started_at": document["started_at"],
        "finished_at": document["finished_at"],
        "counts": document["counts"],
        "failing": [
            check["title"] for check in document["checks"] if check["status"] == "critical"
        ],
        "copies": [
            {key: copy[key] for key in ("gpu", "direction", "bandwidth_bytes_per_second")}
            for copy in bench.get("transfers", [])
            if copy["pinned"]
        ],
    }
