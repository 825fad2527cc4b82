"""How values flow from task to task: what is waited for, rendered once, or unknown in check mode.

Some of these playbooks are played by ansible-playbook, too: both must leave the same file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from provision.templating import sandbox, templar
from tests.unit.local import play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"
WRITE = '    - ansible.builtin.copy: {dest: "{{ folder }}/out", content: "%s"}\n'

LOOPED_SET_FACT = (
    HEAD
    + """
    - {ansible.builtin.command: echo x, register: probe, changed_when: false}
    - ansible.builtin.set_fact: {n: "{{ n | default(0) | int + 1 }}"}
      loop: [1, 2, 3]
      when: item < 2 or probe.rc == 0
"""
    + WRITE % "n={{ n }}"
)
UNKNOWN_FACT = (
    HEAD
    + """
    - {ansible.builtin.command: echo x, register: probe}
    - ansible.builtin.set_fact: {x: "{{ probe.stdout }}", y: known}
    - {ansible.builtin.debug: {var: x}}
    - {ansible.builtin.debug: {msg: "{{ y }}"}, when: x is defined}
"""
    + WRITE % "x={{ x }} y={{ y }}"
)
OVERWRITTEN = (
    HEAD
    + """
    - {ansible.builtin.command: echo old, register: x, changed_when: false}
    - ansible.builtin.set_fact: {x: new}
    - {ansible.builtin.command: echo old, register: y, changed_when: false}
    - ansible.builtin.set_fact: {y: "{{ y.stdout }}er"}
"""
    + WRITE % "x={{ x }} y={{ y }}"
)


def play_with_ansible(source: str, folder: Path, *flags: str) -> str:
    """Play it on this machine with ansible-playbook; return its output."""
    (folder / "ansible.yml").write_text(source)
    words = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "here,",
        "-c",
        "local",
        "-e",
        f"folder={folder}",
        *flags,
        "ansible.yml",
    ]
    environment = {**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "source",
    [LOOPED_SET_FACT, UNKNOWN_FACT, OVERWRITTEN],
    ids=["looped set_fact", "fact from a result", "overwritten result"],
)
def test_values_match_those_of_ansible(source: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    played = play(source, tmp_path, variables={"folder": str(tmp_path)})
    assert played.counts["failed"] == 0, played.text
    ours = out.read_text()
    out.unlink()
    play_with_ansible(source, tmp_path)
    assert ours == out.read_text()


def test_check_mode_reports_a_fact_that_a_command_gives_as_unknown(tmp_path: Path) -> None:
    """Reported as undefined, it would fail playbooks that a real run plays well."""
    played = play(UNKNOWN_FACT, tmp_path, check=True, variables={"folder": str(tmp_path)})
    assert played.counts["failed"] == 0
    # set_fact, debug of x, and the copy; `x is defined` and y are known.
    assert played.counts["unknown"] == 3
    assert played.counts["ok"] == 2
    assert "cannot be predicted: needs 'stdout' of the result of 'command'" in played.text
    assert "failed=0" in play_with_ansible(UNKNOWN_FACT, tmp_path, "--check")


def test_unknown_set_fact_does_not_invalidate_later_reads(tmp_path: Path) -> None:
    """set_fact does not change the rig: what a command reads later is still valid."""
    played = play(
        HEAD
        + """
    - {ansible.builtin.command: echo x, register: probe, changed_when: false}
    - ansible.builtin.set_fact: {x: "{{ probe.stdout }}"}
    - {ansible.builtin.command: echo y, register: read, changed_when: false, check_mode: false}
    - {ansible.builtin.debug: {msg: "read {{ read.stdout }}"}}
""",
        tmp_path,
        check=True,
    )
    assert "read y" in played.text
    assert played.counts["unknown"] == 1


@pytest.mark.parametrize("key", ["stdout.reason", "stdout.use", "bind"])
def test_every_key_of_an_unknown_value_is_unknown(key: str, tmp_path: Path) -> None:
    """Not even a key with the name of an attribute of the class behind it."""
    played = play(
        HEAD
        + f"""
    - {{ansible.builtin.command: echo x, register: probe}}
    - {{ansible.builtin.debug: {{msg: "got {{{{ probe.{key} }}}}"}}}}
""",
        tmp_path,
        check=True,
    )
    assert played.counts["failed"] == 0, played.text
    assert "got" not in played.text
    assert f"cannot be predicted: needs '{key.split('.')[0]}' of the result" in played.text


def test_false_condition_avoids_waiting_for_a_result(tmp_path: Path) -> None:
    task = (
        '    - {ansible.builtin.command: "echo {{ probe.stdout }}", when: [false, probe.rc == 0]}\n'
    )
    source = HEAD + "    - {ansible.builtin.command: echo x, register: probe}\n" + task * 3
    assert play(source, tmp_path).recap.frames == 3


def test_false_condition_overrides_an_unknown_one(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - {ansible.builtin.command: echo x, register: probe}
    - {ansible.builtin.command: echo y, when: [probe.stdout == 'x', 1 == 2]}
    - {ansible.builtin.command: echo y, when: [probe.stdout == 'x', 1 == 1]}
""",
        tmp_path,
        check=True,
    )
    assert (played.counts["skipped"], played.counts["unknown"]) == (1, 1)


def test_package_facts_are_waited_for(tmp_path: Path) -> None:
    """The one fact whose name does not begin with ansible_."""
    played = play(
        HEAD
        + """
    - {ansible.builtin.package_facts: {manager: apt}}
    - {ansible.builtin.debug: {msg: "dpkg {{ packages.dpkg[0].name }}"}}
""",
        tmp_path,
    )
    assert "dpkg dpkg" in played.text


def test_nested_variables_wait_for_their_sources(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  gather_facts: false
  vars: {word: "{{ parts.first }}!", parts: {first: "{{ probe.stdout }}"}}
  tasks:
    - {ansible.builtin.command: echo x, register: probe}
    - {ansible.builtin.debug: {msg: "it is {{ word }}"}}
""",
        tmp_path,
    )
    assert "it is x!" in played.text


def test_waiting_task_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: Counter[str] = Counter()
    render_natively = sandbox.render_natively

    def count(text: str, look_up: Any) -> Any:
        rendered[text] += 1
        return render_natively(text, look_up)

    monkeypatch.setattr(templar, "render_natively", count)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "file.j2").write_text("{{ second.stdout }}")
    play(
        HEAD
        + """
    - {ansible.builtin.command: echo a, register: first, changed_when: false}
    - {ansible.builtin.command: echo b, register: second, changed_when: false}
    - ansible.builtin.template: {src: file.j2, dest: "{{ folder + '/out' }}"}
      when: "first.stdout ~ '' == 'a'"
      loop: "{{ ['x'] + [] }}"
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert (tmp_path / "out").read_text() == "b"
    assert set(rendered.values()) == {1}
    assert len(rendered) == 3


def test_result_is_waited_for_if_the_task_registers_the_same_name(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - {ansible.builtin.command: echo first, register: probe, changed_when: false}
    - ansible.builtin.debug: {msg: "it was {{ probe.stdout }}"}
      register: probe
      failed_when: probe.msg is not defined
    - ansible.builtin.debug: {msg: "then {{ probe.msg }}"}
""",
        tmp_path,
    )
    assert "then it was first" in played.text
