"""How demining removes a line from rc.local or a login script: its tasks, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.remote import dpkg
from provision.remote.facts.miners import find_miners
from provision.remote.facts.tree import Tree
from provision.remote.host import ModuleFailure, ModuleHost
from provision.remote.modules import replace
from provision.remote.options import normalize
from tests.unit.modules.rig import create_files
from tests.unit.playbooks.playbook_shell import render_template, tasks

BLOCK = tasks("tasks/demine/stop.yml")["Commands of rc.local and of logins that start miners"]
MARK, SWITCH_OFF = BLOCK["block"]


def play(task: dict[str, Any], file: Path, name: str, check: bool = False) -> bool:
    """Run a task of the module `replace`; return whether it changed the file."""
    item = {"name": name, "evidence": str(file)}
    args = {
        option: render_template(text, **BLOCK["vars"], item=item)
        for option, text in task["ansible.builtin.replace"].items()
    }
    host = ModuleHost(check=check)
    return bool(replace.run(normalize("replace", replace.OPTIONS, args), host)["changed"])


def take_out(file: Path, name: str) -> bool:
    """Run both tasks; return whether they changed the file. Raises ModuleFailure."""
    predicted = [play(task, file, name, check=True) for task in (MARK, SWITCH_OFF)]
    changed = [play(task, file, name) for task in (MARK, SWITCH_OFF)]
    assert predicted == changed
    return any(changed)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a\n/opt/t-rex -x &\nb\n", "a\n: # deeprig: /opt/t-rex -x & # deeprig\nb\n"),
        # Over several lines, and what follows stays.
        (
            "screen -dm t-rex \\\n  --pool x \\\n  -y\nb\n",
            ": # deeprig: screen -dm t-rex \\\n: # deeprig:   --pool x \\\n"
            ": # deeprig:   -y # deeprig\nb\n",
        ),
        # A block that would be empty stays valid; the question that opens it stays.
        (
            "if [ -x /opt/t-rex ]; then\n  /opt/t-rex\nfi\n",
            "if [ -x /opt/t-rex ]; then\n: # deeprig:   /opt/t-rex # deeprig\nfi\n",
        ),
        (
            "[ -x /opt/t-rex ] && { /opt/t-rex & }\n",
            ": # deeprig: [ -x /opt/t-rex ] && { /opt/t-rex & } # deeprig\n",
        ),
        # Comments, and what was taken out before.
        ("# t-rex\n: # deeprig: t-rex\nx\n", "# t-rex\n: # deeprig: t-rex\nx\n"),
        ("t-rex", ": # deeprig: t-rex # deeprig"),
        # The name is on a line in the middle, and blanks are at the end.
        (
            "sudo \\\n  t-rex \\\n  -x  \nb\n",
            ": # deeprig: sudo \\\n: # deeprig:   t-rex \\\n: # deeprig:   -x # deeprig\nb\n",
        ),
    ],
)
def test_miner_lines_are_commented_out(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "rc.local"
    file.write_text(before)
    file.chmod(0o751)
    assert take_out(file, "t-rex") is (before != after)
    assert file.read_text() == after
    assert file.stat().st_mode & 0o777 == 0o751
    assert not take_out(file, "t-rex")
    assert file.read_text() == after
    assert list(tmp_path.iterdir()) == [file]
    # The facts agree that nothing is left.
    create_files(tmp_path / "rig", {"etc/rc.local": f"#!/bin/sh\n{after}"})
    assert find_miners(Tree(str(tmp_path / "rig")), dpkg.Database(""))["miners"] == []


def test_line_that_breaks_the_script_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "rc.local"
    file.write_text("if true; then t-rex\nfi\n")
    for _ in range(2):
        with pytest.raises(ModuleFailure, match="validating the new content failed"):
            take_out(file, "t-rex")
        # Only the mark is new, which is a comment.
        assert file.read_text() == "if true; then t-rex # deeprig\nfi\n"
    assert list(tmp_path.iterdir()) == [file]
