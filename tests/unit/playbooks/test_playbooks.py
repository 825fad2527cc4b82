"""The playbooks are valid for Ansible's tools and for our engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.engine import playbook

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
