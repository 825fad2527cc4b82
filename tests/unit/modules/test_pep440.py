"""Versions of Python packages."""

from __future__ import annotations

import pytest

from provision.remote.pep440 import fits, key, normalized, requirement

ORDER = [
    *("1.0.dev1", "1.0a1", "1.0a2.dev3", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0+local.7"),
    *("1.0+local.10", "1.0.post1", "1.1.dev1", "1.1", "1.9", "1.10", "2.13.0", "2.13.0+cpu"),
    "1!0.5",
]


def test_order() -> None:
    backwards = ORDER[::-1]
    assert sorted(backwards, key=key) == ORDER
    assert key("1.0") == key("1") == key("v1.0.0")


@pytest.mark.parametrize(
    ("version", "clause", "expected"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.0+cpu", "==2.13.0+cu130", False),
        ("2.13.0+cpu", "==2.13.*", True),
        ("2.13.0", "!=2.13.*", False),
        ("2.13", "~=2.12", True),
        ("3.0", "~=2.12", False),
        ("2.12.9", "~=2.12.1", True),
        ("2.13.0", "~=2.12.1", False),
        ("2.0rc1", "<2.0", False),
        ("1.0.post1", ">1.0", False),
        ("1.10", ">=1.9", True),
        ("1.9", "<=1.9.0", True),
        ("garbage", ">=1", False),
        ("weird", "===weird", True),
    ],
)
def test_clauses(version: str, clause: str, expected: bool) -> None:
    wanted = requirement(f"x{clause}")
    assert wanted is not None
    assert wanted.satisfied_by(version) is expected


def test_requirements() -> None:
    wanted = requirement("Foo.Bar_baz[all] >= 1.0, <2 ; python_version > '3'")
    assert wanted is not None
    assert wanted.name == normalized("foo__bar-BAZ") == "foo-bar-baz"
    assert wanted.clauses == ((">=", "1.0"), ("<", "2"))
    assert wanted.marker
    assert requirement("git+https://example.com/x") is None
    assert requirement("./folder") is None
    assert fits("1", "==", "1")
