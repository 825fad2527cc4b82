"""The playbooks are valid for Ansible's tools and for our engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.engine import playbook
from tests.unit.playbooks.playbook_shell import tasks

ROOT = Path(__file__).parents[3]
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_engine_loads_the_playbook(path: Path) -> None:
    assert playbook.load(path)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_ansible_accepts_the_syntax() -> None:
    done = run("ansible-playbook", "--syntax-check", *map(str, PLAYBOOKS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_tasks_wait_for_another_package_manager() -> None:
    # A rig that was just demined may run its first automatic update, on a slow disk.
    files = [*PLAYBOOKS, *(ROOT / "playbooks/tasks").rglob("*.yml")]
    names = [str(path.relative_to(ROOT / "playbooks")) for path in files]
    rows = [
        (name, task["ansible.builtin.apt"].get("lock_timeout", 0))
        for path in names
        for name, task in tasks(path).items()
        if "ansible.builtin.apt" in task
    ]
    assert len(rows) > 5
    assert [name for name, seconds in rows if seconds < 600] == []
