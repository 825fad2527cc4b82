"""Requirements and the packages that satisfy them (PEP 440, PEP 508)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from provision.remote.modules.pip import is_satisfied, parse_requirement
from provision.ssh import worker_bundle


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
        ("2.0rc1", ">=1.9", True),
        ("1.0.post1", ">1.0", False),
        ("1.10", ">=1.9", True),
        ("1.9", "<=1.9.0", True),
        ("1!0.5", ">2", True),
        ("1.0.dev1", "<1.0a1", True),
        ("garbage", ">=1", False),
        ("garbage", "", True),
        ("weird", "===weird", True),
    ],
)
def test_version_clauses_are_evaluated(version: str, clause: str, expected: bool) -> None:
    assert is_satisfied(f"x{clause}", {"x": version}) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Foo.Bar_baz[all] >= 1.0, <2", True),
        ("foo-bar-baz >= 1.0, <1.4", False),
        ("foo__bar-BAZ", True),
        ("other", False),
        ("foo-bar-baz ; python_version > '3'", False),
        ("git+https://example.com/foo-bar-baz", False),
        ("foo-bar-baz @ https://example.com/foo_bar_baz-1.5.tar.gz", False),
        ("./foo-bar-baz", False),
        ("https://example.com/foo_bar_baz-1.5-py3-none-any.whl", True),
        ("https://example.com/foo_bar_baz-1.5-py3-none-any.whl#sha256=0", True),
        ("https://example.com/foo_bar_baz-1.5%2Bcpu-py3-none-any.whl", False),
        ("/tmp/foo_bar_baz-1.6-1-py3-none-any.whl", False),
        ("/tmp/foo.whl", False),
    ],
)
def test_requirement_is_evaluated(text: str, expected: bool) -> None:
    assert is_satisfied(text, {"foo-bar-baz": "1.5"}) is expected


def test_url_is_not_a_requirement() -> None:
    assert parse_requirement("git+https://example.com/x") is None
    assert parse_requirement("./folder") is None


def test_bundle_contains_the_packaging_library() -> None:
    """The bundle includes everything that the pip module imports, even indirectly."""
    sources, data, code = worker_bundle._contents()
    program = (
        "import sys, json\n"
        "sources, data, code = json.load(sys.stdin)\n"
        "names = {'__name__': 'bootstrap'}\n"
        "exec(code, names)\n"
        "sys.meta_path.insert(0, names['MemoryImporter'](sources, data))\n"
        "from provision.remote.modules import pip\n"
        "assert pip.is_satisfied('x>=1', {'x': '1.5'})\n"
        "import packaging.requirements\n"
        "assert packaging.requirements.__file__.startswith('<deeprig>')\n"
    )
    subprocess.run(
        [sys.executable, "-IS", "-c", program],
        input=json.dumps([sources, data, code]),
        text=True,
        check=True,
    )
