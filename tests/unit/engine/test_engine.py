"""The engine from playbook to recap, with the real worker in a child process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.local import play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def test_batch_of_tasks_is_one_exchange(tmp_path: Path) -> None:
    def frames(tasks: int) -> int:
        task = "    - ansible.builtin.stat: {path: /etc/hostname}\n"
        return play(HEAD + task * tasks, tmp_path).recap.frames

    # A frame each way and the greeting; results come back together.
    assert frames(5) == frames(200) == 3


def test_registered_result_is_waited_for_when_used(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo one
      register: first
      changed_when: false
    - ansible.builtin.command: echo two
      register: second
      changed_when: false
    - ansible.builtin.copy:
        dest: "{{ folder }}/out"
        content: "{{ first.stdout }} {{ second.stdout }}"
      when: first is succeeded and second.rc == 0
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert (tmp_path / "out").read_text() == "one two"
    assert played.counts["changed"] == 1
    # Greeting, the two commands as one batch, the copy as the next.
    assert played.recap.frames == 5


def test_output_of_a_rig_is_never_a_template(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("{{ 1 + 1 }}")
    play(
        HEAD
        + """
    - ansible.builtin.command: cat {{ folder }}/evil
      register: evil
    - ansible.builtin.copy:
        dest: "{{ folder }}/out"
        content: "{{ evil.stdout }}"
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert (tmp_path / "out").read_text() == "{{ 1 + 1 }}"


def test_nothing_runs_after_a_failure(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - name: Goes wrong
      ansible.builtin.command: sh -c 'echo two lines >&2; echo of reasons >&2; exit 3'
    - ansible.builtin.file: {path: "{{ folder }}/later", state: touch}
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert played.recap.exit_status == 2
    assert played.counts["failed"] == 1
    assert not (tmp_path / "later").exists()
    assert "play.yml:5:7" in played.text
    assert "task: Goes wrong" in played.text
    assert "host: here" in played.text
    assert "two lines" in played.text
    assert "of reasons" in played.text


def test_tasks_before_a_template_error_run(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.file: {path: "{{ folder }}/before", state: touch}
    - name: Uses what is not there
      ansible.builtin.command: echo {{ foldr }}
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert (tmp_path / "before").exists()
    assert played.counts["failed"] == 1
    assert "play.yml:7:32: undefined variable 'foldr'; did you mean 'folder'?" in played.text
    assert "task: Uses what is not there" in played.text


@pytest.mark.parametrize(
    ("keywords", "counts"),
    [
        ("ignore_errors: true", {"ok": 2, "ignored": 1, "failed": 0}),
        ("failed_when: false", {"ok": 2, "ignored": 0, "failed": 0}),
        ("failed_when: message.rc == 4\n      register: message", {"ok": 2, "failed": 0}),
        ("failed_when: message.rc == 3\n      register: message", {"ok": 0, "failed": 1}),
        ("changed_when: false", {"ok": 0, "failed": 1}),
    ],
)
def test_failed_when_and_ignore_errors_decide_about_failure(
    tmp_path: Path, keywords: str, counts: dict[str, int]
) -> None:
    played = play(
        HEAD
        + f"""
    - ansible.builtin.command: sh -c 'exit 3'
      {keywords}
    - ansible.builtin.command: echo afterwards
""",
        tmp_path,
    )
    assert {name: played.counts[name] for name in counts} == counts
    assert ("afterwards" in played.log) == (counts["failed"] == 0)


def test_changed_when_decides_about_notification(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.command: echo no news
      register: message
      changed_when: "'news!' in message.stdout"
      notify: Tell
    - ansible.builtin.command: echo news!
      register: message
      changed_when: "'news!' in message.stdout"
      notify: Tell them
  handlers:
    - name: Tell
      ansible.builtin.file: {path: "{{ folder }}/wrong", state: touch}
    - name: Another
      listen: Tell them
      ansible.builtin.file: {path: "{{ folder }}/right", state: touch}
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert played.counts["changed"] == 2
    assert (tmp_path / "right").exists()
    assert not (tmp_path / "wrong").exists()


def test_failing_loop_runs_to_its_end_and_registers_all_items(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: test {{ item }} != b
      loop: [a, b, c]
      register: each
      ignore_errors: true
    - ansible.builtin.copy:
        dest: "{{ folder }}/out"
        content: "{{ each.results | map(attribute='rc') | join(',') }} {{ each is failed }}"
""",
        tmp_path,
        variables={"folder": str(tmp_path)},
    )
    assert (tmp_path / "out").read_text() == "0,1,0 True"
    assert played.counts["ignored"] == 1


def test_empty_and_skipped_loops_run_nothing(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: echo {{ item }}
      loop: []
    - ansible.builtin.command: echo {{ item }}
      loop: "{{ nowhere }}"
      when: nowhere is defined
""",
        tmp_path,
    )
    assert played.counts["skipped"] == 2


def test_tags_select_tasks(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
    - {ansible.builtin.debug: {msg: one}, tags: [one]}
    - {ansible.builtin.debug: {msg: two}, tags: [two]}
    - {ansible.builtin.debug: {msg: always}, tags: [always]}
    - {ansible.builtin.debug: {msg: never}, tags: [never, rare]}
"""
    )

    def run_and_show(**options: str) -> str:
        text = play(source, tmp_path, verbose=False, **options).text  # type: ignore[arg-type]
        return "".join(w[0] for w in ("one", "two", "always", "never") if f"    {w}\n" in text)

    assert run_and_show() == "ota"
    assert run_and_show(tags="one") == "oa"
    assert run_and_show(skip_tags="one") == "ta"
    assert run_and_show(tags="rare") == "an"


def test_extra_variables_have_precedence_and_variables_nest(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  gather_facts: false
  vars: {name: play, greeting: "hello {{ name }}"}
  tasks:
    - ansible.builtin.debug: {msg: "{{ greeting }}"}
    - ansible.builtin.debug: {msg: "{{ greeting }}"}
      vars: {name: task}
    - ansible.builtin.set_fact: {name: fact}
    - ansible.builtin.debug: {msg: "{{ greeting }}"}
""",
        tmp_path,
        variables={"name": "inventory"},
    )
    for name in ("play", "task", "fact"):
        assert f"    hello {name}\n" in played.text
    won = play(
        HEAD + '    - ansible.builtin.debug: {msg: "hello {{ name }}"}\n',
        tmp_path,
        extra=("name=line",),
        variables={"name": "inventory"},
    )
    assert "    hello line\n" in won.text


def test_facts_are_gathered_once(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  tasks:
    - ansible.builtin.debug: {msg: "kernel {{ ansible_facts.kernel }}"}
- hosts: all
  tasks:
    - ansible.builtin.debug: {msg: "again {{ ansible_kernel }}"}
""",
        tmp_path,
    )
    import platform

    assert f"    kernel {platform.release()}\n" in played.text
    assert f"    again {platform.release()}\n" in played.text
    assert played.text.count("Gathering Facts") == 1


def test_failed_assert_shows_its_message_and_end_host_ends_the_play(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.assert:
        that: [1 == 1, size > 40]
        fail_msg: "too small: {{ size }}"
""",
        tmp_path,
        variables={"size": 8},
    )
    assert "too small: 8" in played.text
    ended = play(
        HEAD
        + """
    - ansible.builtin.meta: end_host
    - ansible.builtin.fail: {msg: never}
""",
        tmp_path,
    )
    assert ended.recap.exit_status == 0


def test_template_module_writes_files_and_reports_errors(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "unit.j2").write_text(
        "a\n{% for i in [1, 2] %}\n{{ i }}\n{% endfor %}\n"
    )
    source = (
        HEAD
        + """
    - ansible.builtin.template: {src: unit.j2, dest: "{{ folder }}/out"}
"""
    )
    variables = {"folder": str(tmp_path)}
    assert play(source, tmp_path, variables=variables).counts["changed"] == 1
    assert (tmp_path / "out").read_text() == "a\n1\n2\n"
    assert play(source, tmp_path, variables=variables).counts["changed"] == 0

    (tmp_path / "templates" / "unit.j2").write_text("a\n{{ nothing }}\n")
    played = play(source, tmp_path, variables=variables)
    assert "unit.j2:2:1: undefined variable 'nothing'" in played.text


def test_no_log_hides_results(tmp_path: Path) -> None:
    played = play(
        HEAD
        + """
    - ansible.builtin.command: sh -c 'echo {{ word }}{{ word }}; exit 1'
      no_log: true
""",
        tmp_path,
        variables={"word": "hunter"},
    )
    assert played.counts["failed"] == 1
    assert "hunterhunter" not in played.text + played.log


def test_failing_module_is_reported(tmp_path: Path) -> None:
    played = play(
        HEAD + "    - ansible.builtin.copy: {content: x, dest: /nowhere/at/all}\n", tmp_path
    )
    assert played.counts["failed"] == 1
    assert "directory /nowhere/at does not exist" in played.text


def test_the_log_has_a_line_for_every_task(tmp_path: Path) -> None:
    played = play(
        HEAD + "    - {name: One, ansible.builtin.command: echo 1}\n"
        "    - {name: Two, ansible.builtin.command: echo 2}\n",
        tmp_path,
    )
    records = [json.loads(line) for line in played.log.splitlines()]
    assert [r["task"] for r in records if "task" in r] == ["One", "Two"]
    assert all(r["host"] == "here" for r in records)


def test_copy_module_copies_files_and_folders(tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / "tree" / "sub").mkdir(parents=True)
    (files / "tree" / "empty").mkdir()
    (files / "tree" / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (files / "tree" / "sub" / "run.sh").chmod(0o750)
    (files / "one").write_bytes(b"\0\xff")
    (tmp_path / "into").mkdir()
    source = (
        HEAD
        + """
    - ansible.builtin.copy: {src: one, dest: "{{ folder }}/into"}
    - ansible.builtin.copy: {src: tree, dest: "{{ folder }}/whole", mode: preserve}
    - ansible.builtin.copy: {src: tree/, dest: "{{ folder }}/inside"}
    - ansible.builtin.copy: {content: {a: 1}, dest: "{{ folder }}/json"}
"""
    )
    played = play(source, tmp_path, variables={"folder": str(tmp_path)})
    assert played.counts["changed"] == 4
    assert (tmp_path / "into" / "one").read_bytes() == b"\0\xff"
    assert (tmp_path / "whole" / "tree" / "sub" / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "inside" / "sub" / "run.sh").is_file()
    assert (tmp_path / "inside" / "empty").is_dir()
    assert (tmp_path / "json").read_text() == '{"a": 1}'
    assert play(source, tmp_path, variables={"folder": str(tmp_path)}).counts["changed"] == 0
