"""The version is in agent/__init__.py, for a rig has no pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import agent


def test_the_package_and_the_agent_have_one_version() -> None:
    project = (Path(agent.__file__).parents[1] / "pyproject.toml").read_text()
    match = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert match is not None
    assert match[1] == agent.VERSION
