"""Each host runs in a thread: an error in one thread does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.engine.actions import debug
from tests.unit.local import play

HEAD = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def test_internal_error_is_a_failure_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(debug, "act", broken)
    played = play(HEAD + "    - ansible.builtin.debug: {msg: hello}\n", tmp_path)
    assert played.counts["failed"] == 1
    assert "deeprig itself failed here: ZeroDivisionError: by nought" in played.text
    assert "Traceback" in played.log
    assert "Traceback" not in played.text
