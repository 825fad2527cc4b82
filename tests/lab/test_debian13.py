"""Debian 13 beneath the rig: every verb, where apt has no GnuPG, and Python no old modules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from lab.simulate import states
from tests.lab.adopt.conftest import PASSWORD, USER, Home
from tests.lab.operator import FabResult, assert_apt_works, fab, write_variant
from tests.lab.test_restore_whole import differences, state

# Its base is built for these tests alone: a minute that `make test` does not have.
pytestmark = pytest.mark.extended

NAME = "test44"
FLAVOUR = "debian13"
FIRST, NEXT = "590.48.01-1", "595.71.05-1"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Iterator[Rig]:
    rig = make_rig(NAME, flavour=FLAVOUR)
    yield rig
    rig.discard()


@pytest.fixture(scope="module")
def before(target: Rig) -> dict[str, str]:
    """The rig's files and units as it was bought."""
    return state(target)


@pytest.fixture(scope="module")
def converted(target: Rig, inventory: Path, before: dict[str, str]) -> FabResult:
    """The first run of every step."""
    result = fab(inventory, NAME, "provision", "--accept-taken-over", seconds=600)
    assert result.status == 0, result.text
    return result


def read(rig: Rig, command: str) -> str:
    return rig.run(command).stdout.strip()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (". /etc/os-release && echo $VERSION_ID $VERSION_CODENAME", "13 trixie"),
        ("systemctl is-system-running --wait", "running"),
        ("systemctl --version | cut -d' ' -f2 | head -n 1", "257"),
        ("python3 -c 'import sys; print(*sys.version_info[:2])'", "3 13"),
        ("apt-get --version | sed -nE '1s/^apt ([0-9]+).*/\\1/p'", "3"),
        ("ls /usr/bin/sqv", "/usr/bin/sqv"),
        ("command -v gpg gpgv apt-key || echo none", "none"),
        ("ls /etc/apt/sources.list /etc/sysctl.conf 2>/dev/null || echo none", "none"),
        ("grep -c ^Types: /etc/apt/sources.list.d/debian.sources", "2"),
    ],
)
def test_base_is_debian_13(target: Rig, command: str, answer: str) -> None:
    assert read(target, command) == answer


def test_assess_names_what_provisioning_does(
    target: Rig, inventory: Path, before: dict[str, str]
) -> None:
    result = fab(inventory, NAME, "assess")
    assert result.status == 0, result.text
    result.assert_shows("Debian 13", "B450 Steel Legend")
    document = json.loads(fab(inventory, NAME, "assess", "--json").stdout)[NAME]
    gathered = json.loads(fab(inventory, NAME, "facts", "--json").stdout)[NAME]
    assert gathered["ansible_distribution_major_version"] == "13"
    sources = gathered["ansible_local"]["deeprig"]["apt"]["sources"]
    assert document["facts"]["apt"]["sources"] == sources
    assert {"trixie", "trixie-security"} <= {suite for row in sources for suite in row["suites"]}
    assert state(target) == before


def test_checklist_reads_the_board(inventory: Path) -> None:
    result = fab(inventory, NAME, "checklist")
    assert result.status == 0, result.text
    result.assert_shows("B450 Steel Legend")


def test_check_mode_predicts_the_first_run(target: Rig, inventory: Path) -> None:
    result = fab(inventory, NAME, "provision", "--check", "--accept-taken-over", seconds=300)
    assert result.status == 0, result.text
    result.assert_shows("to download")


def test_first_run_converts_it(target: Rig, converted: FabResult) -> None:
    assert read(target, "dpkg-query -W -f '${Version}' nvidia-open") == FIRST
    assert read(target, "dpkg-query -W -f '${Version}' libnccl2").endswith("+cuda13.2")
    query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
    assert read(target, query) == FIRST.removesuffix("-1")
    assert read(target, "systemctl is-active deeprig-agent") == "active"
    python = "/opt/deeprig/venv/bin/python"
    assert read(target, f"{python} -c 'import sys, torch; print(*sys.version_info[:2])'") == "3 13"
    components = "grep -h ^Components: /etc/apt/sources.list.d/debian.sources | sort -u"
    assert read(target, components) == "Components: main contrib"
    assert_apt_works(target)


def test_second_run_changes_nothing(inventory: Path, converted: FabResult) -> None:
    again = fab(inventory, NAME, "provision", "--accept-taken-over", seconds=400)
    assert again.status == 0, again.text
    again.assert_shows("changed=0")


def test_validation_passes(inventory: Path, converted: FabResult, tmp_path: Path) -> None:
    result = fab(inventory, NAME, "validate", "--quick", "--report", tmp_path, seconds=400)
    report: dict[str, Any] = json.loads((tmp_path / NAME / "report.json").read_text())
    statuses = {check["check"]: check["status"] for check in report["checks"]}
    critical = {name for name, status in statuses.items() if status == "critical"}
    # Its risers have one lane each, which the agent reports as well.
    assert critical <= {"links::path_width", "agent::verdicts"}, result.text
    assert {statuses[f"software::{name}"] for name in ("driver", "torch", "nccl")} == {"ok"}


def test_upgrade_is_planned(target: Rig, inventory: Path, converted: FabResult) -> None:
    result = fab(inventory, NAME, "upgrade", "--check", "--driver", "595", seconds=300)
    assert result.status == 0, result.text
    result.assert_shows(f"{FIRST} -> {NEXT}", "planned")


def test_driver_from_a_repository_that_sqv_refuses_changes_nothing(
    target: Rig, inventory: Path, converted: FabResult
) -> None:
    """NVIDIA's key of Debian 12 is bound by SHA-1, which apt of Debian 13 refuses."""
    url = f"{target.vendor_url}/sha1-key/"
    fingerprint = read(target, f"curl -fsS {url}fingerprint")
    other = write_variant(
        inventory,
        NAME,
        "refused",
        nvidia_repository_url=url,
        nvidia_repository_key_url=f"{url}key.asc",
        nvidia_repository_key_fingerprint=fingerprint,
        nvidia_driver_branch=595,
    )
    entries = "cat /etc/apt/sources.list.d/*"
    was = read(target, entries)
    result = fab(other, NAME, "provision", "--tags", "driver", seconds=300)
    assert result.status == 2, result.text
    result.assert_shows("SHA-1", "signed by another key")
    assert read(target, entries) == was
    assert read(target, "dpkg-query -W -f '${Version}' libcuda1") == FIRST
    assert_apt_works(target)


# What was signed before a key expired counts for sqv.
@pytest.mark.parametrize("name", ["sha1-key", "unknown-key"])
def test_repository_that_sqv_refuses_is_named(
    target: Rig, inventory: Path, converted: FabResult, name: str
) -> None:
    states.lay(target, name)
    result = fab(inventory, NAME, "assess")
    target.run("rm /etc/apt/sources.list.d/third-party.list")
    path = f"{target.vendor_url}/{name}"
    result.assert_shows("repositories that do not answer", path)


def test_restore_brings_it_back(
    target: Rig, inventory: Path, before: dict[str, str], converted: FabResult
) -> None:
    result = fab(inventory, NAME, "restore", seconds=400)
    assert result.status == 0, result.text
    # What the steps added stays, and packages may have files below /etc.
    files = differences(before, state(target)).items()
    lost = {name: change for name, change in files if name in before and name.startswith("/")}
    assert lost == {}


def test_adopt_takes_it_over_by_key(target: Rig, converted: FabResult, tmp_path: Path) -> None:
    """The last test: the password that the others log in with is no longer valid."""
    home = Home(tmp_path / "home", tmp_path / "inventory", target)
    home.folder.mkdir()
    home.inventory.mkdir()
    (home.inventory / "rigs.yml").write_text("rigs:\n  hosts: {}\n")
    result = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert result.status == 0, result.text
    result.assert_shows("Debian 13", "RTX 3090", "made now")
    assert home.ssh(*home.by_key).stdout == "in\n"
    again = home.adopt("--json", address="attic")
    assert set(home.steps(again).values()) == {"ok"}, again.text
