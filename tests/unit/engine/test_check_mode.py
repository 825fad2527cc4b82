"""Check mode changes nothing, and reports what it cannot predict as unknown."""

from __future__ import annotations

from pathlib import Path

from tests.unit.local import play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def test_check_mode_changes_nothing_and_reports_unknown_results(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    - ansible.builtin.copy: {dest: "{{ folder }}/file", content: "new"}
    - ansible.builtin.command: echo ran
      register: ran
    - ansible.builtin.command: echo {{ ran.stdout }}
      changed_when: true
"""
    )
    variables = {"folder": str(tmp_path)}
    predicted = play(source, tmp_path, check=True, diff=True, variables=variables)
    assert not (tmp_path / "file").exists()
    assert predicted.counts["changed"] == 2
    assert predicted.counts["unknown"] == 1
    assert "cannot be predicted: needs 'stdout' of the result of 'command'" in predicted.text
    assert "+new" in predicted.text
    assert play(source, tmp_path, variables=variables).counts["changed"] == 3


def test_reads_after_a_predicted_change_are_unknown(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    - ansible.builtin.copy: {dest: "{{ folder }}/file", content: "new"}
    - ansible.builtin.command: cat {{ folder }}/file
      register: read
      changed_when: false
      check_mode: false
    - ansible.builtin.file: {path: "{{ folder }}/made", state: touch}
      when: read.stdout == "new"
"""
    )
    variables = {"folder": str(tmp_path)}
    (tmp_path / "file").write_text("old")
    assert play(source, tmp_path, check=True, variables=variables).counts["unknown"] == 1
    assert play(source, tmp_path, variables=variables).counts["changed"] == 2
    (tmp_path / "made").unlink()
    # Nothing changes before the read now: what it gives is what a run would read.
    predicted = play(source, tmp_path, check=True, variables=variables).counts
    assert predicted["changed"] == 1
    assert "unknown" not in predicted


def test_changed_when_of_an_unknown_result_is_unknown(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo maybe
      register: first
      changed_when: "'yes' in first.stdout"
    - ansible.builtin.command: echo then
      when: first is changed
""",
        tmp_path,
        check=True,
    )
    assert played.counts["unknown"] == 2


def test_unknown_tasks_do_not_split_a_batch(tmp_path: Path) -> None:
    task = (
        "    - ansible.builtin.command: echo {{ word }}\n"
        "      become: true\n"
        "      become_user: tester\n"
    )
    unknown = task.replace("{{ word }}", "{{ message.stdout }}")
    source = HEAD + task + "      register: message\n" + (unknown + task) * 3
    assert play(source, tmp_path, check=True, variables={"word": "x"}).recap.frames <= 5


def test_module_without_a_prediction_is_unknown(tmp_path: Path) -> None:
    """The command runs in a folder that an earlier task creates."""
    source = (
        HEAD
        + """
    - ansible.builtin.file: {path: "{{ folder }}/made", state: directory}
    - ansible.builtin.command: {cmd: touch file, chdir: "{{ folder }}/made"}
"""
    )
    variables = {"folder": str(tmp_path)}
    predicted = play(source, tmp_path, check=True, variables=variables)
    assert predicted.counts["unknown"] == 1
    assert "is created by an earlier task" in predicted.text
    assert play(source, tmp_path, variables=variables).counts["changed"] == 2
