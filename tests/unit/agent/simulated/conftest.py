"""The lab's GPUs and PCIe tree without a rig, for the agent's own processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.nvml.process import NvmlProcess
from lab.simulate import simulated_rig
from lab.simulate.hardware import Function, Hardware
from lab.simulate.simulated_rig import SimulatedRig

DISPLAY = "030000"  # PCI's class of a graphics card
ROOT = Path(__file__).parents[4]
Start = Callable[..., NvmlProcess]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lab's NVML, compiled."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    return simulated_rig.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def rig(tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedRig:
    """Three 3090s; processes that this one starts see them. Its library may be changed.

    Of the PCIe tree there is what the agent looks at, which takes a third of the whole tree's time.
    """
    whole = Hardware.tree

    def tree(hardware: Hardware, *words: Any) -> list[Function]:
        functions = whole(hardware, *words)
        return [function for function in functions if function.bridge or function.class_ == DISPLAY]

    monkeypatch.setattr(Hardware, "tree", tree)
    own_library = tmp_path / "library"
    shutil.copytree(library, own_library, symlinks=True)
    made = SimulatedRig(tmp_path / "hardware", own_library)
    for name, value in made.environment.items():
        if value != os.environ.get(name):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return made


@pytest.fixture
def start(rig: SimulatedRig) -> Iterator[Start]:
    """start(**settings): the agent's side of the process that asks NVML; ended with the test."""
    started: list[NvmlProcess] = []

    def make_process(**settings: Any) -> NvmlProcess:
        made = NvmlProcess(procfs=str(rig.procfs), **settings)
        started.append(made)
        return made

    yield make_process
    for process in started:
        process.close()
