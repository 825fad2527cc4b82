"""How demining takes a line out of rc.local or a login: the shell of its task, on files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from provision.remote.facts import miners
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import make

TASKS = yaml.safe_load((Path(__file__).parents[2] / "playbooks/tasks/demine/stop.yml").read_text())
(SHELL,) = (task["ansible.builtin.shell"]["cmd"] for task in TASKS if "environment" in task)


def take_out(file: Path, name: str) -> int:
    """Run the task's shell; return how it ended."""
    environment = {**os.environ, "NAME": name, "FILE": str(file)}
    command = ["/bin/bash", "-c", SHELL]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\n/opt/t-rex -x &\nb\n", "a\n: # deeprig: /opt/t-rex -x &\nb\n"),
        # Over several lines, and what follows stays.
        ("screen -dm t-rex \\\n  --pool x \\\n  -y\nb\n",
         ": # deeprig: screen -dm t-rex \\\n# deeprig:   --pool x \\\n# deeprig:   -y\nb\n"),
        # A block that would be empty stays valid; the question that opens it stays.
        ("if [ -x /opt/t-rex ]; then\n  /opt/t-rex\nfi\n",
         "if [ -x /opt/t-rex ]; then\n: # deeprig:   /opt/t-rex\nfi\n"),
        ("[ -x /opt/t-rex ] && { /opt/t-rex & }\n",
         ": # deeprig: [ -x /opt/t-rex ] && { /opt/t-rex & }\n"),
        # Comments, and what was taken out before.
        ("# t-rex\n: # deeprig: t-rex\nx\n", "# t-rex\n: # deeprig: t-rex\nx\n"),
        ("t-rex", ": # deeprig: t-rex\n"),
    ],
)  # fmt: skip
def test_lines(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "rc.local"
    file.write_text(before)
    file.chmod(0o751)
    assert take_out(file, "t-rex") == 0
    assert file.read_text() == after
    assert file.stat().st_mode & 0o777 == 0o751
    assert take_out(file, "t-rex") == 0
    assert file.read_text() == after
    assert list(tmp_path.iterdir()) == [file]
    # The facts agree that nothing is left.
    make(tmp_path / "rig", {"etc/rc.local": f"#!/bin/sh\n{after}"})
    assert miners.miners(Tree(str(tmp_path / "rig"))) == []


def test_a_line_that_can_not_be_taken_out_alone(tmp_path: Path) -> None:
    file = tmp_path / "rc.local"
    file.write_text("if true; then t-rex\nfi\n")
    assert take_out(file, "t-rex") != 0
    assert file.read_text() == "if true; then t-rex\nfi\n"
    assert list(tmp_path.iterdir()) == [file]
