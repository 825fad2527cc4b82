"""Flags of a run have the meaning that they have in Ansible."""

from __future__ import annotations

from typing import Any

import pytest

from provision.engine.run_options import RunOptions, extra_variables, split_words
from provision.errors import SourceError


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ("n=5", {"n": "5"}),
        ("a=1 b=2", {"a": "1", "b": "2"}),
        ('a="two words"', {"a": "two words"}),
        ("a='x y' b=3", {"a": "x y", "b": "3"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=C:\\x#1", {"a": "C:\\x#1"}),
        ("a={{ 1 + 1 }}", {"a": "{{ 1 + 1 }}"}),
        ("a=", {"a": ""}),
        ("{a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
    ],
)
def test_extra_variables_are_parsed(given: str, variables: dict[str, Any]) -> None:
    assert extra_variables([given]) == variables


@pytest.mark.parametrize("given", ["a", "a=hello world", 'a="open', "1=2", "{a: [}", "{a: 1"])
def test_invalid_extra_variables_are_refused(given: str) -> None:
    with pytest.raises(SourceError):
        extra_variables([given])


@pytest.mark.parametrize(
    ("tags", "skip", "selected"),
    [
        ("", "", "untagged one always both"),
        ("one", "", "one always both"),
        ("never", "", "always never both"),
        ("tagged", "", "one always both"),
        ("untagged", "", "untagged always both"),
        ("all", "one", "untagged always both"),
        ("", "always", "untagged one"),
        ("", "tagged", "untagged"),
        ("", "untagged", "one always both"),
        ("", "all", "always both"),
        ("", "all,always", ""),
    ],
)
def test_tags_select_as_in_ansible(tags: str, skip: str, selected: str) -> None:
    tasks: dict[str, set[str]] = {
        "untagged": set(),
        "one": {"one"},
        "always": {"always"},
        "never": {"never", "rare"},
        "both": {"always", "never"},
    }
    options = RunOptions(tags=split_words(tags), skip_tags=split_words(skip))
    assert selected == " ".join(n for n, t in tasks.items() if options.selects(frozenset(t)))
