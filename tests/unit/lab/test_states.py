"""The table of states, without a rig."""

from __future__ import annotations

import subprocess

import pytest

from lab.errors import LabError
from lab.simulate import states


@pytest.mark.parametrize("name", states.load_table())
def test_script_is_valid_shell(name: str) -> None:
    script = states.write_script(name, "http://127.0.78.1:8077/cuda/")
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.stderr == ""
    state = states.load_table()[name]
    assert state.text
    assert bool(state.argument) == bool(state.default)
    assert bool(state.argument) == ("ARGUMENT" in state.script)


def test_argument_is_quoted_for_the_shell() -> None:
    script = states.write_script("modprobe-line", "http://x/cuda/", "install nvidia /bin/sh -c 'x'")
    assert "ARGUMENT='install nvidia /bin/sh -c '\"'\"'x'\"'\"''\n" in script


def test_argument_of_a_state_without_one_is_an_error() -> None:
    with pytest.raises(LabError, match="has no argument"):
        states.write_script("lists-deleted", "http://x/cuda/", "7")
