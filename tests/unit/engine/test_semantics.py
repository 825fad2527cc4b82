"""Playbooks have the meaning that they have in Ansible: loops, conditions, changed_when."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import SourceError
from tests.unit.local import PlayResult, play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def list_messages(played: PlayResult) -> list[str]:
    """Return the messages of debug tasks, in order."""
    return [line[4:] for line in played.text.splitlines() if line.startswith("    ")]


def test_condition_may_use_default_for_its_item(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.debug: {msg: "{{ item }}"}
      loop: [a, b]
      when: (item | default('')) == 'b' and item is defined
""",
        tmp_path,
        verbose=False,
    )
    assert list_messages(played) == ["b"]


def test_skipped_loop_registers_skipped_results(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo {{ item }}
      loop: [a, b]
      when: false
      register: spared
    - ansible.builtin.command: echo {{ item }}
      loop: []
      register: empty
    - ansible.builtin.debug:
        msg: "{{ spared.results | map(attribute='item') | join(',') }}
          {{ spared is skipped }} {{ empty.results | length }} {{ empty is skipped }}"
""",
        tmp_path,
        verbose=False,
    )
    assert list_messages(played) == ["a,b True 0 True"]


@pytest.mark.parametrize(
    ("task", "counts"),
    [
        ("ansible.builtin.debug: {msg: x}\n      changed_when: true", {"changed": 1}),
        ("ansible.builtin.fail: {msg: x}\n      failed_when: false", {"failed": 0, "ok": 1}),
        ("ansible.builtin.set_fact: {x: 1}\n      failed_when: 1 == 1", {"failed": 1}),
        (
            "ansible.builtin.debug: {msg: x}\n      register: message\n"
            "      changed_when: message.msg == 'x'",
            {"changed": 1},
        ),
    ],
)
def test_changed_when_and_failed_when_apply_to_local_actions(
    tmp_path: Path, task: str, counts: dict[str, int]
) -> None:
    played = play(f"{HEAD}    - {task}\n", tmp_path)
    assert {name: played.counts[name] for name in counts} == counts


def test_task_is_judged_with_the_variables_before_it(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.set_fact: {mode: first}
    - ansible.builtin.command: echo a
      register: message
      changed_when: false
    - ansible.builtin.debug: {msg: "{{ message.stdout }}"}
    - ansible.builtin.command: echo b
      changed_when: message.stdout == 'a' and mode == 'first'
    - ansible.builtin.command: echo c
      register: message
      changed_when: message.stdout == 'c'
    - ansible.builtin.command: echo d
      changed_when: message.stdout == 'c'
    - ansible.builtin.set_fact: {mode: second}
    - ansible.builtin.setup:
""",
        tmp_path,
        verbose=False,
    )
    assert played.counts["failed"] == 0
    assert played.counts["changed"] == 3


def test_judgement_by_an_unknown_result_is_unknown(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo a
      register: message
    - ansible.builtin.file: {path: "{{ folder }}/new", state: touch}
      changed_when: message.stdout == 'a'
""",
        tmp_path,
        check=True,
        variables={"folder": str(tmp_path)},
    )
    assert played.counts["unknown"] == 1
    assert played.counts["failed"] == 0


def test_missing_fact_is_not_defined(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  tasks:
    - {ansible.builtin.debug: {msg: never}, when: ansible_no_such_fact is defined}
    - {ansible.builtin.debug: {msg: kernel}, when: ansible_kernel is defined}
""",
        tmp_path,
        verbose=False,
    )
    assert list_messages(played) == ["kernel"]


def test_failed_facts_are_not_waited_for(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.package_facts: {manager: apt}
      failed_when: true
      ignore_errors: true
    - {ansible.builtin.debug: {msg: "{{ ansible_nothing | default('gone') }}"}}
""",
        tmp_path,
        verbose=False,
    )
    assert list_messages(played)[-1] == "gone"


def test_import_variables_apply_to_the_imported_plays(tmp_path: Path) -> None:
    (tmp_path / "mid.yml").write_text("- {import_playbook: low.yml, vars: {v: mid, w: mid}}\n")
    (tmp_path / "low.yml").write_text(
        HEAD.replace(
            "  tasks", "  vars: {v: play, u: play, x: play}\n  vars_files: [f.yml]\n  tasks"
        )
        + "    - ansible.builtin.debug: {msg: 'v={{ v }} w={{ w }} u={{ u }} x={{ x }}'}\n"
    )
    (tmp_path / "f.yml").write_text("{w: file, x: file}\n")
    played = play(
        "- {import_playbook: mid.yml, vars: {v: top, w: top, u: top}}\n", tmp_path, verbose=False
    )
    assert list_messages(played) == ["v=top w=file u=top x=file"]


def test_become_user_may_be_a_template(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo
      become: true
      become_user: "{{ service }}"
""",
        tmp_path,
        variables={"service": "tester"},  # the login user: no sudo is needed
    )
    assert played.counts["changed"] == 1


def test_recursive_import_of_task_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yml").write_text("- ansible.builtin.import_tasks: sub/b.yml\n")
    (tmp_path / "sub" / "b.yml").write_text("- ansible.builtin.import_tasks: ../a.yml\n")
    with pytest.raises(SourceError, match="imports itself"):
        play(HEAD + "    - ansible.builtin.import_tasks: a.yml\n", tmp_path)


def test_omit_removes_nested_values(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.shell: env | grep -c ^GIVEN=
      environment: {GIVEN: "{{ nothing | default(omit) }}"}
      register: given
      failed_when: false
    - ansible.builtin.copy:
        content: {a: "{{ nothing | default(omit) }}", b: ["{{ omit }}", 1]}
        dest: "{{ folder }}/out"
    - ansible.builtin.debug: {msg: "{{ given.stdout }}"}
""",
        tmp_path,
        verbose=False,
        variables={"folder": str(tmp_path)},
    )
    assert list_messages(played)[-1] == "0"
    assert (tmp_path / "out").read_text() == '{"b": [1]}'


def test_debug_reports_an_undefined_variable(tmp_path: Path) -> None:
    played = play(HEAD + "    - ansible.builtin.debug: {var: nothing}\n", tmp_path)
    assert played.counts["failed"] == 0
    assert "NOT DEFINED" in played.text


def test_environment_must_be_a_mapping(tmp_path: Path) -> None:
    source = HEAD + '    - {ansible.builtin.command: echo, environment: ["{{ given }}"]}\n'
    played = play(source, tmp_path, variables={"given": 5})
    assert "'environment' needs a mapping, and has 5" in played.text
