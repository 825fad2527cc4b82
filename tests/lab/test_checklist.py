"""`fab checklist` of a rig: it reports changes of the BIOS after the reboot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from provision.inventory import yaml_source
from tests.lab.operator import FabResult, fab

pytestmark = pytest.mark.extended  # a rig that is rebooted

NAME = "test53"


def run_checklist(inventory: Path, *words: str) -> FabResult:
    """Run the command; return its output as one line."""
    result = fab(inventory, NAME, "checklist", *words)
    assert result.status == 0, result.text
    return result if "--json" in words else replace(result, stdout=" ".join(result.stdout.split()))


def read_items(inventory: Path, *words: str) -> dict[str, dict[str, Any]]:
    document = json.loads(run_checklist(inventory, "--json", *words).stdout)[NAME]
    return {item["id"]: item for item in document["items"]}


def test_bios_changes_are_reported_after_the_reboot(target: Rig, inventory: Path) -> None:
    first = run_checklist(inventory, "--answer", "riser-power=yes", "--answer", "fans=no")
    first.assert_shows("B450 Steel Legend", "does not split lanes", "[ ] Above 4G decoding on")
    first.assert_shows("0000:08:00.0 has x1 of", "[x] No riser powered by SATA (by your answer)")
    before = read_items(inventory)
    assert before["above-4g"]["status"] == "to do"
    assert before["errors-visible"]["status"] == "to do"  # pci=noaer, as HiveOS has it
    assert before["split"]["status"] == "open"
    assert before["fans"] | {"status": "to do", "by": "answered"} == before["fans"]

    target.down()
    target.set(profile="x4x4x4x4")
    target.up()
    result = run_checklist(inventory)
    result.assert_shows(
        "Rebooted since the last look.",
        "Above 4G decoding on: to do -> ok",
        "4 sub-links of the processor's: 0000:00:03.1 x4",
    )
    after = read_items(inventory)
    assert after["split"]["status"] == "ok"
    assert after["risers"]["status"] == "ok"
    assert after["riser-power"]["by"] == "answered"  # not asked again
    assert "Rebooted" not in run_checklist(inventory).text


def test_stored_answers_can_be_edited(inventory: Path) -> None:
    file = inventory.parent / "host_vars" / NAME / "checklist.yml"
    document = yaml_source.load_yaml(file)
    assert document["checklist"]["answers"] == {"fans": False, "riser-power": True}
    file.write_text(file.read_text().replace("fans: false", "fans: true"))
    assert read_items(inventory)["fans"]["status"] == "ok"
    fab(inventory, NAME, "facts").assert_shows(NAME)  # an inventory like before


def test_html_and_markdown_pages_are_written(inventory: Path, tmp_path: Path) -> None:
    html, markdown = tmp_path / "rig.html", tmp_path / "rig.md"
    run_checklist(inventory, "--html", str(html), "--markdown", str(markdown))
    assert "<title>test53: checklist</title>" in html.read_text()
    assert "- [x] **The processor's slot split" in markdown.read_text()


def test_invalid_item_and_unreachable_rig_are_errors(inventory: Path) -> None:
    wrong = fab(inventory, NAME, "checklist", "--answer", "fan=yes")
    assert wrong.status == 2
    wrong.assert_shows("no item 'fan'", "riser-power")
    gone = fab(inventory, NAME, "checklist", "-e", "ansible_host=127.0.77.253")
    assert gone.status == 4
    gone.assert_shows("can't connect")
