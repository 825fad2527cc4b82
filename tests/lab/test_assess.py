"""`fab assess`: read-only, with the rig's shell only, and correct."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, fab, write_variant

NAME = "test52"
#: What of a rig an assessment may not change: every file but logs and what sudo notes of itself.
FILES = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /var/log"
    " -o -path '*/.sudo_as_admin_successful' \\) -prune -o -type f -newer /run/stamp -print"
)


def run_assess(inventory: Path, *words: str) -> FabResult:
    return fab(inventory, NAME, "assess", *words)


def assess_as_json(inventory: Path) -> dict[str, Any]:
    result = run_assess(inventory, "--json")
    assert result.status == 0, result.text
    document: dict[str, Any] = json.loads(result.stdout)[NAME]
    return document


def find_rows(document: dict[str, Any], check: str) -> list[tuple[str, str]]:
    rows = [*document["wear"], *document["security"]]
    return [(row["status"], row["reading"]) for row in rows if row["check"] == check]


def test_shell_facts_match_the_facts_of_python(target: Rig, inventory: Path) -> None:
    """One code reads both: the rig's files, and the files that its shell sent."""
    seen = assess_as_json(inventory)["facts"]
    gathered = json.loads(fab(inventory, NAME, "facts", "--json").stdout)
    gathered_facts = gathered[NAME]["ansible_local"]["deeprig"]
    for facts in (seen, gathered_facts):
        facts["root_disk"].pop("free_bytes")
        facts["file_systems"] = [place["mount"] for place in facts["file_systems"]]
        # Processes come and go.
        facts["miners"] = [miner for miner in facts["miners"] if miner["kind"] != "process"]
    assert seen == gathered_facts


def test_assess_works_without_python_and_changes_nothing(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    fault("no-python")
    target.run("touch /run/stamp")
    result = run_assess(inventory, "--verbose")
    assert result.status == 0, result.text
    result.assert_shows(
        "HiveOS",
        "B450 Steel Legend",
        "P2.90",
        "lolMiner",
        "16 of Gen3",
        "x1 of x16, up to 16 GT/s",
        "<- narrowest",
        "keep, if its BIOS splits",
    )
    assert max(len(line) for line in result.stdout.splitlines() if "PSU" not in line) <= 100
    assert target.run(FILES).stdout == ""


def test_logins_keys_and_repositories_of_the_vendor_are_reported(
    target: Rig, inventory: Path
) -> None:
    document = assess_as_json(inventory)
    assert document["as_root"]
    logins = [row for row in document["security"] if row["check"] == "login"]
    assert {(row["subject"], row["status"]) for row in logins} == {
        ("root", "critical"),
        ("user", "critical"),
    }
    assert all("the mining system's default password" in row["reading"] for row in logins)
    vendors = [reading for status, reading in find_rows(document, "keys") if status == "critical"]
    assert len(vendors) == 2
    assert all("support@hive.example" in reading for reading in vendors)
    (repository,) = find_rows(document, "repositories")
    assert repository[0] == "warning"
    assert "127.0.79.1" in repository[1]
    # Secrets stay where they are: the login's own password, wallets, the farm's hash.
    text = json.dumps(document)
    for secret in ("RIG_PASSWD", "FARM_HASH", "WALLET"):
        assert secret not in text


def test_signs_of_hard_use_are_reported(
    target: Rig, inventory: Path, fault: Callable[..., None]
) -> None:
    fault("hot", "1")
    fault("xid", "0 79")
    document = assess_as_json(inventory)
    heat = {row["subject"]: row["status"] for row in document["wear"] if row["check"] == "heat"}
    assert heat == {"0000:04:00.0": "ok", "0000:06:00.0": "warning", "0000:08:00.0": "ok"}
    assert {status for status, _ in find_rows(document, "power limit")} == {"note"}
    assert find_rows(document, "PCIe errors") == [
        ("unknown", "the kernel counts none")
    ]  # pci=noaer


def test_report_without_root_access_says_so(inventory: Path) -> None:
    """The report names what could not be read."""
    other = write_variant(inventory, NAME, ansible_become_password="wrong")
    result = fab(other, NAME, "assess")
    assert result.status == 0, result.text
    result.assert_shows("Not seen as root", "HiveOS", "lolMiner")


def test_rig_that_allows_a_single_session_is_assessed(target: Rig, inventory: Path) -> None:
    limit = "/etc/ssh/sshd_config.d/0-sessions.conf"
    target.run(f"echo MaxSessions 1 > {limit}; systemctl restart ssh")
    try:
        document = assess_as_json(inventory)
    finally:
        target.run(f"rm {limit}; systemctl restart ssh")
    assert document["as_root"]
    assert len(document["facts"]["gpus"]) == 3


def test_power_budget_page_and_invalid_options(inventory: Path, tmp_path: Path) -> None:
    page = tmp_path / "rig.html"
    result = run_assess(
        inventory, "-e", "{psus: [750, 750], preflight_root_disk_gb: 4000}", "--html", str(page)
    )
    assert result.status == 0, result.text
    result.assert_shows("TOO MUCH", "reinstall", "4000 are needed")
    html = page.read_text()
    assert "<title>test52: assessment of " in html
    assert "4000 are needed" in html
    assert "http://" not in html.replace("http://127.0.79.1", "")  # it needs nothing else
    wrong = run_assess(inventory, "-e", "{psus: 750}")
    assert wrong.status == 2
    wrong.assert_shows("psus of test52 must be a list of watts")


def test_unreachable_rig_is_an_error(target: Rig, inventory: Path) -> None:
    gone = write_variant(inventory, NAME, ansible_host="127.0.77.253")
    result = fab(gone, NAME, "assess")
    assert result.status == 4
    result.assert_shows("can't connect")
