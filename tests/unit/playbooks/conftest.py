"""Virtual environments of a rig, with the program that installs into them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pip
import pytest

from tests.unit.playbooks.pip_environment import Environment

PROGRAM = Path(__file__).parents[3] / "playbooks/files/pip_by_uv.py"
UV = Path(sys.executable).with_name("uv")
RECORDER = """#!/bin/sh
{{ printf '%s\\n' "$@"; echo; env; }} > {record}
"""


@pytest.fixture
def make_environment(tmp_path: Path) -> Callable[[Path], Environment]:
    """Make an environment with this uv."""

    def make(uv: Path = UV) -> Environment:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True
        )
        packages = tmp_path / "uv/lib/python3.11/site-packages"
        packages.mkdir(parents=True)
        (packages / "pip").symlink_to(Path(pip.__file__).parent)
        (tmp_path / "uv/bin").mkdir()
        (tmp_path / "uv/bin/uv").symlink_to(uv)
        program = tmp_path / "venv/bin/pip-by-uv"
        text = PROGRAM.read_text().replace("/opt/deeprig/uv", str(tmp_path / "uv"))
        program.write_text(text.replace("/usr/bin/python3", sys.executable))
        program.chmod(0o755)
        made = Environment(tmp_path, tmp_path / "wheels")
        made.set_pip("[global]\nno-index = true\n")
        return made

    return make


@pytest.fixture
def environment(make_environment: Callable[..., Environment]) -> Environment:
    """An environment with the real uv."""
    return make_environment()


@pytest.fixture
def recorded(make_environment: Callable[..., Environment], tmp_path: Path) -> Environment:
    """An environment with a uv that only notes how it is called."""
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER.format(record=tmp_path / "record"))
    recorder.chmod(0o755)
    return make_environment(recorder)
