"""Compile the lab's C programs: NVML, nvidia-smi, libraries to preload, a fake miner."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.errors import LabError

SOURCE = Path(__file__).parent / "nvml"
FLAGS = ("-O1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-std=gnu11")


def build_library(target: Path, driver: str, cuda: int) -> None:
    """Compile libnvidia-ml.so for a driver version and its CUDA version."""
    sources = [SOURCE / name for name in ("state.c", "system.c", "device.c", "pcie.c", "events.c")]
    _compile(
        target,
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-pthread",
        "-Wl,-soname,libnvidia-ml.so.1",
        f'-DDRIVER="{driver}"',
        f"-DCUDA={cuda}",
        *sources,
    )


def build_smi(target: Path) -> None:
    """Compile nvidia-smi, which works with every version of the library."""
    _compile(target, *(SOURCE / name for name in ("smi.c", "xml.c", "gpus.c")), "-ldl")


def build_miner(target: Path) -> None:
    """Compile the fake miner, which keeps the GPUs open as a real miner does."""
    _compile(target, "-D_GNU_SOURCE", SOURCE.parent / "fake-miner.c")


def build_preload(target: Path) -> None:
    """Compile a library for programs of a rig to preload: NAME.so of NAME.c."""
    source = SOURCE.parent / f"{target.stem}.c"
    _compile(target, "-shared", "-fPIC", "-fvisibility=hidden", source)


def _compile(target: Path, *arguments: str | Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", *FLAGS, "-o", str(target), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"Compiling {target.name} failed:\n{done.stderr}")
