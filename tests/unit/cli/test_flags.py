"""A verb accepts only flags that apply to it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from provision.cli.flags import OF_PLAYS

SPEC = importlib.util.spec_from_file_location("fabfile", Path(__file__).parents[3] / "fabfile.py")
assert SPEC is not None
assert SPEC.loader is not None
fabfile = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fabfile)


def flags(verb: str) -> set[str]:
    return {argument.name for argument in fabfile.namespace[verb].get_arguments()}


@pytest.mark.parametrize("verb", ["provision", "play", "backup", "restore"])
def test_play_verbs_accept_the_flags_of_ansible(verb: str) -> None:
    assert set(OF_PLAYS) <= flags(verb)


@pytest.mark.parametrize(
    "verb", ["assess", "checklist", "status", "facts", "validate", "bench", "advise"]
)
def test_other_verbs_reject_the_flags_of_plays(verb: str) -> None:
    assert not set(OF_PLAYS) & flags(verb)


def test_adopt_accepts_check_mode() -> None:
    assert set(OF_PLAYS) & flags("adopt") == {"check"}
