"""The table of Xids: every row has the event, its severity, and advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

TABLE = Path(__file__).parents[3] / "agent" / "tables" / "xids.yml"
ROWS: dict[int | str, dict[str, Any]] = cast(
    "dict[int | str, dict[str, Any]]", yaml.safe_load(TABLE.read_text())
)
NUMBERS = sorted(number for number in ROWS if isinstance(number, int))


@pytest.mark.parametrize("number", [*NUMBERS, "default"])
def test_a_row_has_what_a_verdict_needs(number: int | str) -> None:
    row = ROWS[number]
    assert set(row) - {"well_known"} == {"name", "status", "meaning", "advice"}
    assert row["status"] in ("ok", "warning", "critical")
    assert 3 <= len(row["name"]) <= 45, "it is a label of a table"
    assert not row["name"].endswith(".")
    assert row["meaning"].endswith(".")
    assert row["advice"].endswith(".")
    assert "{" not in row["advice"], "nothing is filled in here"


def test_table_has_the_expected_numbers() -> None:
    assert len(NUMBERS) >= 40
    assert set(ROWS) == {*NUMBERS, "default"}
    assert all(0 < number < 1000 for number in NUMBERS)


def test_no_number_is_duplicated() -> None:
    """YAML silently keeps the last of two rows."""
    node = yaml.compose(TABLE.read_text())
    assert isinstance(node, yaml.MappingNode)
    keys = [key.value for key, _ in node.value]
    assert sorted(keys) == sorted(set(keys))


def test_well_known_xids_are_few_and_include_the_critical_ones() -> None:
    """Each is a series for every GPU; critical Xids of GeForce must be included."""
    well_known = {number for number in NUMBERS if ROWS[number].get("well_known", False)}
    assert all(ROWS[number].get("well_known", True) is True for number in NUMBERS)
    assert {13, 31, 32, 43, 45, 48, 61, 62, 63, 64, 74, 79, 94, 95, 109, 119, 120} <= well_known
    assert len(well_known) <= 24


@pytest.mark.parametrize(
    ("number", "status"),
    [(79, "critical"), (119, "critical"), (48, "critical"), (31, "warning"), (45, "ok")],
)
def test_status_of_well_known_xids(number: int, status: str) -> None:
    assert ROWS[number]["status"] == status
