"""Prometheus' own programs, where this machine has them."""

from __future__ import annotations

import os
import shutil
from typing import Literal, NoReturn

import pytest

Tool = Literal["promtool", "prometheus", "npm"]
PACKAGE: dict[Tool, str] = {"promtool": "prometheus", "prometheus": "prometheus", "npm": "npm"}


def absent(what: str, how: str) -> NoReturn:
    """Skip the test, or fail it where every test is required (CI=true)."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}, and CI requires this test: {how}")
    pytest.skip(f"{what}: {how}")


def tool(name: Tool) -> str:
    """The path of a program: $DEEPRIG_PROMTOOL and its like, else from $PATH."""
    variable = f"DEEPRIG_{name.upper()}"
    path = os.environ.get(variable) or shutil.which(name)
    if path is None:
        absent(f"{name} is not here", f"apt-get install {PACKAGE[name]}, or set {variable}")
    return path
