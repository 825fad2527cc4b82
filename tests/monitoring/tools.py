"""Prometheus' own programs, if this machine has them."""

from __future__ import annotations

import os
from typing import Literal, NoReturn

import pytest

from lab.build import tools

Tool = Literal["promtool", "prometheus", "npm"]


def skip_or_fail(what: str, how: str) -> NoReturn:
    """Skip the test, or fail it where every test is required (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI requires this test: {how}")
    pytest.skip(f"{what}: {how}")


def tool(name: Tool) -> str:
    """The path of a program, installed or unpacked by lab/build/tools.py."""
    path = tools.find(name)
    if path is None:
        skip_or_fail(f"{name} is not here", "make tools")
    return path
