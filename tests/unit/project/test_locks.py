"""Lock files: every package has one version and hashes, and every installation checks both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.playbooks.playbook_shell import tasks

ROOT = Path(__file__).parents[3]
FOR_RIGS = (
    "agent/requirements.txt",
    "tests/rig/requirements.txt",
    "playbooks/files/torch-cuda13.txt",
    "playbooks/files/torch-tools.txt",
    "playbooks/files/uv.txt",
)
TASK_FILES = sorted((ROOT / "playbooks/tasks").rglob("*.yml"))
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-torch.lock", *FOR_RIGS)
PINNED = re.compile(r"[a-z0-9-]+==[^ ;]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+")


def entries(file: str) -> list[str]:
    """The requirements of a file, each with its hashes on one line."""
    return (ROOT / file).read_text().replace(" \\\n   ", "").splitlines()


@pytest.mark.parametrize("file", LOCKS)
def test_every_package_has_a_version_and_hashes(file: str) -> None:
    lines = entries(file)
    assert lines
    assert [line for line in lines if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("file", LOCKS)
def test_lock_names_no_index(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", text.replace("    --hash=", ""), re.MULTILINE)


@pytest.mark.parametrize("file", FOR_RIGS)
def test_locks_for_rigs_have_no_markers(file: str) -> None:
    """A converged environment is recognised by names and versions, without starting pip."""
    assert [line for line in entries(file) if ";" in line] == []


def pip_tasks() -> list[tuple[str, dict[str, Any]]]:
    pairs = []
    for file in sorted((ROOT / "playbooks").glob("*.yml")) + TASK_FILES:
        for name, task in tasks(str(file.relative_to(ROOT / "playbooks"))).items():
            if "ansible.builtin.pip" in task:
                pairs.append((f"{file.name}: {name}", task["ansible.builtin.pip"]))
    return pairs


def test_rigs_install_from_locks_with_their_hashes() -> None:
    """Except for PyTorch if its index or version is not that of the lock."""
    pairs = pip_tasks()
    assert len(pairs) >= 6
    without = [
        name
        for name, module in pairs
        if "requirements" not in module
        or "--require-hashes" not in module.get("extra_args", "").split()
    ]
    assert without == ["pytorch.yml: PyTorch without a lock"]


def test_this_machine_installs_from_locks_with_their_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    installs = re.findall(r"bin/pip install .*", makefile)
    assert len(installs) == 4
    without = [line for line in installs if "--require-hashes -r requirements" not in line]
    (torch,) = without
    assert "--no-deps" in torch
    assert "lab.build.wheels" in torch


def test_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    """pip itself refuses a wheel with the right name and version and other content."""
    wheel = tmp_path / "iniconfig-2.3.1-py3-none-any.whl"
    wheel.write_bytes(b"not what the lock names")
    (line,) = [line for line in entries("requirements.lock") if line.startswith("iniconfig==")]
    (tmp_path / "lock").write_text(f"{line}\n")
    assert "--hash=" in line
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--isolated",
            "--dry-run",
            "--no-index",
            "--ignore-installed",
            f"--find-links={tmp_path}",
            "--require-hashes",
            "-r",
            str(tmp_path / "lock"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
