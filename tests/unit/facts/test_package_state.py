"""Pins, holds, unfinished packages and locks, from files as dpkg, apt and the kernel write them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from provision.remote import dpkg
from provision.remote.facts.driver import driver
from provision.remote.facts.driver_packages import read_driver_packages
from provision.remote.facts.package_state import (
    find_holds,
    find_lock_holder,
    find_unfinished,
    is_interrupted,
    read_pins,
)
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files, write_packages

FRONTEND, DPKG = "var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"
LISTS, ARCHIVES = "var/lib/apt/lists/lock", "var/cache/apt/archives/lock"


def test_pins_of_files_that_apt_reads(tmp_path: Path) -> None:
    create_files(
        tmp_path,
        {
            "etc/apt/preferences": "Package: *\nPin: release a=stable\nPin-Priority: 900\n",
            "etc/apt/preferences.d/20-driver.pref": "# A comment\n"
            "Explanation: the old one\nPackage: nvidia-*\n libnvidia-*\nPin: version 470.*\n"
            "Pin-Priority: -1\n\nPackage: *\nPin: origin x.example\n",
            "etc/apt/preferences.d/none": "package: a\npin: release o=Debian\npin-priority: 1\n",
            "etc/apt/preferences.d/old.bak": "Package: a\nPin: version 1\nPin-Priority: 5\n",
        },
    )
    assert read_pins(Tree(str(tmp_path))) == [
        {
            "file": "/etc/apt/preferences",
            "packages": ["*"],
            "pin": "release a=stable",
            "priority": 900,
        },
        {
            "file": "/etc/apt/preferences.d/20-driver.pref",
            "packages": ["nvidia-*", "libnvidia-*"],
            "pin": "version 470.*",
            "priority": -1,
        },
        {
            "file": "/etc/apt/preferences.d/none",
            "packages": ["a"],
            "pin": "release o=Debian",
            "priority": 1,
        },
    ]


STATES = {
    "bash": "install ok installed",
    "gone": "deinstall ok config-files",
    "never": "unknown ok not-installed",
    "kept": "hold ok installed",
    "nvidia-dkms-535": "install ok half-configured",
    "nvidia-driver-535": "install ok unpacked",
    "torn": "install reinstreq half-installed",
    "man-db": "install ok triggers-pending",
    "dkms": "install ok triggers-awaited",
    "flagged": "install reinstreq installed",
    "held-half": "hold ok half-configured",
}


def database(root: Path) -> dpkg.Database:
    packages = {name: {"version": "1.0", "status": state} for name, state in STATES.items()}
    write_packages(root, packages)
    return dpkg.Database((root / "var/lib/dpkg/status").read_text())


def test_holds_and_unfinished_packages(tmp_path: Path) -> None:
    packages = database(tmp_path)
    assert find_holds(packages) == ["held-half", "kept"]
    rows = find_unfinished(Tree(str(tmp_path)), packages)
    assert {row["package"]: row["state"] for row in rows} == {
        "nvidia-dkms-535": "half-configured",
        "nvidia-driver-535": "unpacked",
        "torn": "reinst-required",
        "man-db": "triggers-pending",
        "dkms": "triggers-awaited",
        "flagged": "reinst-required",
        "held-half": "half-configured",
    }
    assert is_interrupted(Tree(str(tmp_path))) is False


def test_states_that_dpkg_did_not_merge_yet(tmp_path: Path) -> None:
    packages = database(tmp_path)
    stanza = "Package: {}\nStatus: install ok {}\nArchitecture: amd64\nVersion: 2\n"
    create_files(
        tmp_path,
        {
            "var/lib/dpkg/updates/0000": stanza.format("bash", "half-installed"),
            "var/lib/dpkg/updates/0001": stanza.format("bash", "unpacked"),
            "var/lib/dpkg/updates/0002": stanza.format("dkms", "installed"),
            "var/lib/dpkg/updates/tmp.i": "",
        },
    )
    tree = Tree(str(tmp_path))
    assert is_interrupted(tree)
    states = {row["package"]: row["state"] for row in find_unfinished(tree, packages)}
    assert states["bash"] == "unpacked"
    assert "dkms" not in states


def test_status_file_that_a_power_cut_damaged(tmp_path: Path) -> None:
    text = "Package: a\nStatus: install ok\nVersion: 1\n\nPackage: b\n\0\0\0\n\nStatus: x\n"
    assert find_unfinished(Tree(str(tmp_path)), dpkg.Database(text)) == []


def test_package_that_was_never_unpacked_has_no_version(tmp_path: Path) -> None:
    text = "Package: nvidia-smi\nStatus: install ok half-installed\nArchitecture: amd64\n"
    (row,) = find_unfinished(Tree(str(tmp_path)), dpkg.Database(text))
    assert row == {"package": "nvidia-smi", "version": None, "state": "half-installed"}
    (package,) = read_driver_packages(Tree(str(tmp_path)), dpkg.Database(text), [])
    assert package["version"] is None
    assert driver(Tree(str(tmp_path)), dpkg.Database(text))["package_versions"] == {}


def locks(root: Path, *rows: tuple[str, int, str]) -> None:
    """Write /proc/locks: kind, pid, and the file that is locked."""
    lines = [
        f"{number}: {kind} {pid} 08:01:{(root / file).stat().st_ino} 0 EOF"
        for number, (kind, pid, file) in enumerate(rows, 1)
    ]
    create_files(root, {"proc/locks": "\n".join([*lines, ""])})


POSIX = "POSIX  ADVISORY  WRITE"


@pytest.mark.parametrize(
    ("rows", "holder"),
    [
        ([(POSIX, 812, FRONTEND)], ("/var/lib/dpkg/lock-frontend", 812, "unattended-upgr")),
        ([(POSIX, 900, DPKG)], ("/var/lib/dpkg/lock", 900, "dpkg")),
        ([(POSIX, 812, LISTS)], ("/var/lib/apt/lists/lock", 812, "unattended-upgr")),
        ([(POSIX, 812, ARCHIVES)], ("/var/cache/apt/archives/lock", 812, "unattended-upgr")),
        # dpkg's own lock is its child's; who waits for the outer one is named.
        (
            [(POSIX, 900, DPKG), (POSIX, 812, FRONTEND)],
            ("/var/lib/dpkg/lock-frontend", 812, "unattended-upgr"),
        ),
        ([("POSIX  ADVISORY  READ", 812, FRONTEND)], None),
        ([(POSIX, 77, "etc/other")], None),
        ([("OFDLCK ADVISORY  WRITE", -1, FRONTEND)], None),
        ([(POSIX, 4321, FRONTEND)], ("/var/lib/dpkg/lock-frontend", 4321, "a process")),
        # Another file system has a file of the same inode.
        ([(POSIX, 555, FRONTEND)], None),
        ([], None),
    ],
)
def test_holder_of_a_lock(
    tmp_path: Path, rows: list[tuple[str, int, str]], holder: tuple[str, int, str] | None
) -> None:
    create_files(
        tmp_path,
        {
            FRONTEND: "",
            DPKG: "",
            LISTS: "",
            ARCHIVES: "",
            "etc/other": "",
            "proc/812/comm": "unattended-upgr\n",
            "proc/900/comm": "dpkg\n",
            "proc/900/fd/3": {"link": f"/{DPKG}"},
            "proc/555/fd/9": {"link": "/srv/data"},
        },
    )
    locks(tmp_path, *rows)
    process = find_lock_holder(Tree(str(tmp_path)))
    expected = dict(zip(("path", "pid", "program"), holder, strict=True)) if holder else None
    assert process == expected


def test_lock_of_a_real_process(tmp_path: Path) -> None:
    """The kernel's own table names this process."""
    path = tmp_path / FRONTEND
    path.parent.mkdir(parents=True)
    with path.open("w") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        create_files(tmp_path, {"proc/locks": Path("/proc/locks").read_text()})
        holder = find_lock_holder(Tree(str(tmp_path)))
    assert holder
    assert holder["pid"] == os.getpid()
