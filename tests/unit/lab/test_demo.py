"""The table at the end of the demo, which compares a rig before and after."""

from __future__ import annotations

import pytest
from rich.console import Console

from lab import demo
from provision.discovery import summary


def test_label_that_only_a_mining_rig_has_is_compared_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {
        "before": [("miners", "t-rex"), ("around them", "hugepages")],
        "after": [("miners", "none")],
    }
    monkeypatch.setattr(summary, "summarize_facts", lambda facts, models: rows[facts])
    console = Console(width=80, record=True)
    console.print(demo.side_by_side("before", "after"))  # type: ignore[arg-type]
    lines = console.export_text().splitlines()
    assert any(line.split() == ["around", "them", "hugepages", "none"] for line in lines)
