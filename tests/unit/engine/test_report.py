"""What the operator sees: no hidden results, no control sequences."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from provision.engine.reports.run_log import RunLog
from provision.engine.reports.run_report import RunReport
from provision.engine.results import Result
from provision.output.redaction import Redactor
from tests.unit.local import play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def test_task_names_are_rendered(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - {name: Ask, ansible.builtin.command: echo late, register: message, changed_when: false}
    - {name: "With {{ word }} and {{ message.stdout }}", ansible.builtin.command: echo}
    - {name: "With {{ nothing }}", ansible.builtin.command: "false"}
""",
        tmp_path,
        variables={"word": "early"},
    )
    assert "  With early and late\n" in played.text
    assert "task: With {{ nothing }}" in played.text
    titles = [json.loads(line).get("task") for line in played.log.splitlines()]
    assert titles[:3] == ["Ask", "With early and late", "With {{ nothing }}"]


@pytest.mark.parametrize(
    "task",
    [
        "ansible.builtin.command: echo {{ item }}\n      loop: [hunter, other]",
        "ansible.builtin.command: test {{ item }} = x\n      loop: [hunter, other]",
        "ansible.builtin.fail: {msg: 'it is {{ word }}'}",
        "ansible.builtin.debug: {msg: x}\n      when: word",
        "ansible.builtin.copy: {content: '{{ word }}', dest: '{{ folder }}/new'}\n      diff: true",
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_no_log_hides_items_messages_and_diffs(tmp_path: Path, task: str, check: bool) -> None:
    variables = {"word": "hunter", "folder": str(tmp_path)}
    played = play(
        f"{HEAD}    - {task}\n      no_log: true\n", tmp_path, variables=variables, check=check
    )
    head = played.text.split("|")[0]  # what follows is the playbook's own line
    assert "hunter" not in head + played.log


def test_output_of_a_rig_cannot_control_the_terminal(tmp_path: Path) -> None:
    played = play(
        HEAD
        + r"""
    - name: "[red]Title[/red]"
      ansible.builtin.command: printf '\033[2J\033]0;title\007[/nothing]\303\050\r'
      failed_when: true
""",
        tmp_path,
    )
    assert "[red]Title[/red]" in played.text
    assert "[/nothing]" in played.text
    assert "\x1b" not in played.text
    assert "title" not in played.text.replace("Title", "")


class Terminal(io.StringIO):
    """A terminal that supports ASCII only."""

    encoding = "ascii"

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return super().write(text.encode("ascii").decode())


def test_progress_escapes_markup_and_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with (
        RunLog(tmp_path, "test", ["h"]) as log,
        RunReport(["h"], Redactor(), log, stream=terminal) as report,
    ):
        report.progress("h", "step", "[/b] title", 3.0, "[/red] \udcff öl \x1b[2J")
    assert "[/red] ? ?l" in terminal.getvalue()


def test_json_report_accepts_results_of_any_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, Any] = {"set": {1}, "bytes": b"x"}
    monkeypatch.setattr("provision.engine.actions.debug.act", lambda *_: Result({"r": shown}))
    played = play(HEAD + "    - ansible.builtin.debug: {msg: x}\n", tmp_path, as_json=True)
    assert played.counts["ok"] == 1
    assert json.loads(played.text)["tasks"][0]["items"][0]["result"]["r"] == {
        "set": "{1}",
        "bytes": "b'x'",
    }
