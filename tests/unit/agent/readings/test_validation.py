"""The summary of the last validation: read if it is new, refused if it is invalid."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.readings.json_file import JsonFileReader
from agent.readings.validation import parse

GOOD: dict[str, Any] = {
    "format": "deeprig-validation-summary",
    "version": 1,
    "plan": "full",
    "started_at": 100.0,
    "finished_at": 142.5,
    "counts": {"ok": 3, "warning": 0, "critical": 1, "unknown": 0},
    "failing": ["PCIe path width"],
    "copies": [
        {"gpu": "0000:04:00.0", "direction": "host_to_device", "bandwidth_bytes_per_second": 1e9},
        {"gpu": "0000:04:00.0", "direction": "sideways", "bandwidth_bytes_per_second": 1e9},
    ],
}


def test_summary_is_parsed() -> None:
    summary = parse(GOOD)
    assert (summary.plan, summary.duration_seconds, summary.counts["critical"]) == ("full", 42.5, 1)
    assert summary.failing == ("PCIe path width",)
    assert summary.copies == {("0000:04:00.0", "host_to_device"): 1e9}


@pytest.mark.parametrize(
    "garbage",
    [
        [],
        None,
        {},
        {**GOOD, "version": 2},
        {**GOOD, "format": "x"},
        {**GOOD, "counts": {}},
        {**GOOD, "finished_at": "soon"},
        {**GOOD, "copies": None},
        {**GOOD, "failing": None},
    ],
)
def test_invalid_summary_is_refused(garbage: Any) -> None:
    with pytest.raises(ValueError, match=r"summary|could not"):
        parse(garbage)


def test_summary_is_read_again_only_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    reader = JsonFileReader(file, parse)
    assert reader.read() is None
    file.write_text(json.dumps(GOOD))
    first = reader.read()
    assert first is not None
    assert reader.read() is first
    file.write_text(json.dumps({**GOOD, "plan": "quick"}))
    os.utime(file, (1, 1))
    second = reader.read()
    assert second is not None
    assert second.plan == "quick"
    file.write_text("{")
    assert reader.read() is None
    file.unlink()
    assert reader.read() is None
