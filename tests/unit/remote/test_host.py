"""A task's command gets the system's PATH, and no variable that loads other code."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.remote.host import SYSTEM_PATH, ModuleHost
from provision.remote.modules import command, shell
from provision.remote.options import normalize


@pytest.fixture
def bait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder that is root's working directory and in the environment's paths."""
    for name in ("nvidia-smi", "python3", "true"):
        (tmp_path / name).write_text("#!/bin/sh\necho evil\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sitecustomize.py").write_text("print('evil')\n")
    (tmp_path / "rc").write_text("echo evil\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("BASH_ENV", str(tmp_path / "rc"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    return tmp_path


def test_command_is_found_on_the_system_path(bait: Path) -> None:
    assert ModuleHost().run(["python3", "-c", "print('own')"]).stdout == "own\n"
    assert ModuleHost().run("true; python3 -c 'print(1)'; pwd").stdout == "1\n/\n"
    assert ModuleHost().run("true; echo $PATH", executable="/bin/bash").stdout == f"{SYSTEM_PATH}\n"
    assert ModuleHost().run("echo $PYTHONPATH$LD_LIBRARY_PATH$BASH_ENV").stdout == "\n"


def test_task_may_set_another_path(bait: Path) -> None:
    host = ModuleHost(environment={"PATH": f"{bait}:/usr/bin:/bin", "PYTHONPATH": "/x"})
    assert host.run(["true"]).stdout == "evil\n"
    assert host.run("echo $PYTHONPATH").stdout == "/x\n"
    assert ModuleHost().run(["pwd"], cwd=str(bait)).stdout == f"{bait}\n"


def test_words_of_a_command_are_expanded_with_its_environment(bait: Path) -> None:
    args = normalize("command", command.OPTIONS, {"cmd": "echo $PATH"})
    assert command.run(args, ModuleHost())["stdout"] == SYSTEM_PATH
    args = normalize("shell", shell.OPTIONS, {"cmd": "pwd; true"})
    assert shell.run(args, ModuleHost())["stdout"] == "/"
