"""The state of kernels and packages that root writes for the agent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.readings.system import parse
from provision.remote import dpkg
from provision.remote.facts.system_state import read_system_state, write_system_state
from provision.remote.facts.tree import Tree
from tests.unit.facts.test_boot import menu
from tests.unit.facts.test_package_state import FRONTEND, POSIX, locks
from tests.unit.modules.rig import create_files, write_packages

OLD, NEW = "6.1.0-30-amd64", "6.1.0-31-amd64"
HELD = "hold ok installed"
PROGRAM = """
import runpy, sys
sys.path.insert(0, {0!r})
runpy.run_module("provision.remote.facts.system_state", run_name="__main__")
"""
PACKAGES: dict[str, Any] = {
    "nvidia-open-580": {"version": "580.95.05-1", "status": HELD},
    "libcuda1": "580.95.05-1",
    "libnvidia-ml1": {"version": "575.57.08-1", "status": "install ok half-configured"},
    "cuda-compat-12-8": "570.86.10-1",
    "nvidia-installer-cleanup": "20220217+3~deb12u1",
    "libnvidia-container1": "1.18.1-1",
    "less": "590-2",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create_files(
        tmp_path,
        {
            "proc/sys/kernel/osrelease": f"{OLD}\n",
            "boot/grub/grub.cfg": menu("0", NEW, OLD),
            f"lib/modules/{OLD}/updates/dkms/nvidia.ko": "version=580.95.05\n",
            "lib/modules/6.9.0-other/kernel/x.ko": "",
            "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": {"link": "libnvidia-ml.so.580.95.05"},
            "usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05": "",
        },
    )
    write_packages(tmp_path, PACKAGES)
    return tmp_path


def read(root: Path) -> dict[str, Any]:
    packages = dpkg.Database((root / "var/lib/dpkg/status").read_text())
    return read_system_state(Tree(str(root)), packages)


def test_kernels_that_may_boot(root: Path) -> None:
    state = read(root)
    assert state["library_version"] == "580.95.05"
    assert state["kernels"] == [
        {"release": OLD, "default": False, "module_version": "580.95.05"},
        {"release": NEW, "default": True, "module_version": None},
    ]


def test_packages_of_the_driver_and_unfinished_ones(root: Path) -> None:
    state = read(root)
    rows = {(row["name"], row["branch"], row["held"]) for row in state["driver_packages"]}
    assert rows == {
        ("nvidia-open-580", 580, True),
        ("libcuda1", 580, False),
        ("libnvidia-ml1", 575, False),
    }
    assert state["unfinished"] == ["libnvidia-ml1 575.57.08-1 (half-configured)"]
    assert state["interrupted"] is False
    (root / "var/lib/dpkg/updates/0001").write_text("")
    assert read(root)["interrupted"] is True


def test_the_agent_reads_what_is_written(root: Path) -> None:
    file = root / "system.json"
    packages = dpkg.Database((root / "var/lib/dpkg/status").read_text())
    assert write_system_state(Tree(str(root)), packages, str(file))
    assert file.stat().st_mode & 0o777 == 0o644
    state = parse(json.loads(file.read_text()))
    assert state.next_kernel == NEW
    assert state.has_driver == {OLD: True, NEW: False}


def test_nothing_is_written_while_packages_change(root: Path) -> None:
    packages = dpkg.Database((root / "var/lib/dpkg/status").read_text())
    create_files(root, {FRONTEND: ""})
    locks(root, (POSIX, 812, FRONTEND))
    assert not write_system_state(Tree(str(root)), packages, str(root / "system.json"))
    assert not (root / "system.json").exists()


def test_program_runs_with_the_folder_that_the_rig_gets(tmp_path: Path) -> None:
    """Only provision/remote is copied beside the unit."""
    source = Path(__file__).parents[3] / "provision/remote"
    shutil.copytree(source, tmp_path / "provision/remote", ignore=shutil.ignore_patterns("*.pyc"))
    file = tmp_path / "system.json"
    subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM.format(str(tmp_path)), str(file)],
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(file.read_text())["format"] == "deeprig-system-state"
