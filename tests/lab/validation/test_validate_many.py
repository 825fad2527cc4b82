"""`fab validate` of several rigs: each has its own report, independent of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.lab.operator import fab
from tests.lab.validation.conftest import NAME, SECOND, Proven

pytestmark = pytest.mark.extended  # a second rig is provisioned for them


def test_each_rig_has_its_report(pair: Path, proven: Proven, tmp_path: Path) -> None:
    result = fab(pair, f"{NAME},{SECOND}", "validate", "--select", "gpus", "--report", tmp_path)
    assert result.status == 0, result.text
    reports = {
        name: json.loads((tmp_path / name / "report.json").read_text()) for name in (NAME, SECOND)
    }
    assert {name: report["host"] for name, report in reports.items()} == {
        NAME: NAME,
        SECOND: SECOND,
    }
    # At once: each began before the other one ended.
    first, second = reports.values()
    assert first["started_at"] < second["finished_at"]
    assert second["started_at"] < first["finished_at"]
    result.assert_shows(f"{NAME}: ", f"{SECOND}: ", "report.html")


def test_unreachable_rig_does_not_affect_the_others(
    pair: Path, proven: Proven, tmp_path: Path
) -> None:
    document = yaml.safe_load(pair.read_text())
    document["rigs"]["hosts"][SECOND]["ansible_port"] = 1
    inventory = pair.with_name("gone.yml")
    inventory.write_text(yaml.safe_dump(document))
    result = fab(
        inventory, f"{NAME},{SECOND}", "validate", "--select", "gpus", "--report", tmp_path
    )
    assert result.status == 4
    result.assert_shows(SECOND, ":1")
    assert json.loads((tmp_path / NAME / "report.json").read_text())["counts"]["critical"] == 0


def test_baseline_is_refused_for_several_rigs(pair: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"format": "deeprig-validation", "version": 1, "checks": []}))
    result = fab(pair, f"{NAME},{SECOND}", "validate", "--baseline", before)
    assert result.status == 2
    result.assert_shows("--baseline is of one rig")
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"format": "deeprig-validation", "version": 9}))
    result = fab(pair, NAME, "validate", "--baseline", old)
    assert result.status == 2
    result.assert_shows("version 9")
