"""Handlers and the end of plays, as in Ansible."""

from __future__ import annotations

from pathlib import Path

from tests.unit.local import play


def list_messages(text: str) -> list[str]:
    """Return the messages of debug tasks, in order."""
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def test_loop_items_notify_their_handlers(tmp_path: Path) -> None:
    played = play(
        """
- hosts: all
  gather_facts: false
  vars: {kind: unit}
  tasks:
    - ansible.builtin.command: echo {{ item }}
      loop: [a, b]
      notify: restart {{ kind }} {{ item }}
  handlers:
    - {name: restart unit b, ansible.builtin.debug: {msg: notified b}}
    - {name: "restart {{ kind }} a", ansible.builtin.debug: {msg: notified a}}
    - {name: restart unit c, ansible.builtin.debug: {msg: notified c}}
""",
        tmp_path,
        verbose=False,
    )
    assert [w for w in list_messages(played.text) if "notified" in w] == [
        "notified b",
        "notified a",
    ]


def test_handlers_notify_later_handlers_of_the_same_play(tmp_path: Path) -> None:
    play_text = """
- hosts: all
  gather_facts: false
  tasks:
    - {ansible.builtin.command: echo, notify: First}
  handlers:
    - {name: First, ansible.builtin.command: echo, notify: [Second, Last]}
    - {name: Second, ansible.builtin.command: echo, notify: First}
    - {name: Last, ansible.builtin.debug: {msg: last}}
- hosts: all
  gather_facts: false
  tasks:
    - {ansible.builtin.debug: {msg: next play}}
  handlers:
    - {name: First, ansible.builtin.debug: {msg: never}}
"""
    assert list_messages(play(play_text, tmp_path, verbose=False).text) == ["last", "next play"]


def test_end_host_does_not_end_the_next_play(tmp_path: Path) -> None:
    play_text = """
- hosts: all
  gather_facts: false
  tasks:
    - {ansible.builtin.command: echo, notify: Notified}
    - ansible.builtin.meta: end_host
    - {ansible.builtin.debug: {msg: never}}
  handlers:
    - {name: Notified, ansible.builtin.debug: {msg: never}}
- hosts: all
  gather_facts: false
  tasks:
    - {ansible.builtin.debug: {msg: next play}}
"""
    assert list_messages(play(play_text, tmp_path, verbose=False).text) == ["next play"]
