"""The lab's GPUs and PCIe tree in a folder, without a rig: for tests and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

from lab.simulate import compile as nvml
from lab.simulate import control, pcie
from lab.simulate.control import Rows
from lab.simulate.hardware import Hardware

VERSION, CUDA = "580.95.05", 13000
NVRM = f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {VERSION}  Release Build\n"


def build(folder: Path) -> Path:
    """Compile NVML and nvidia-smi into a folder, which is the `library` of SimulatedRig."""
    real = folder / f"libnvidia-ml.so.{VERSION}"
    nvml.build_library(real, VERSION, CUDA)
    (folder / "libnvidia-ml.so.1").symlink_to(real.name)
    nvml.build_smi(folder / "nvidia-smi")
    return folder


class SimulatedRig:
    """A rig's hardware below `folder`: sys, proc and the control file.

    What programs need to see it is in `environment`, and `folder / "sys"`.
    """

    def __init__(
        self, folder: Path, library: Path, profile: str = "x1", hardware: Hardware | None = None
    ) -> None:
        self.folder, self.library = folder, library
        self.hardware = hardware or Hardware.load()
        self.gpus = self.hardware.gpus(profile)
        self._rows: dict[int, Rows] = {gpu.index: {} for gpu in self.gpus}
        self._rig: Rows = {}
        pcie.write_tree(self.sysfs, self.hardware.tree(profile), aer=True)
        self.version_file.parent.mkdir(parents=True)
        self.version_file.write_text(NVRM)
        self.set()

    @property
    def sysfs(self) -> Path:
        """Its /sys."""
        return self.folder / "sys"

    @property
    def procfs(self) -> Path:
        """Its /proc, with the driver's files only."""
        return self.folder / "proc"

    @property
    def version_file(self) -> Path:
        """The version file of the loaded module."""
        return self.procfs / "driver/nvidia/version"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that uses this NVML."""
        variables = {"LD_LIBRARY_PATH": str(self.library), "DEEPRIG_LAB_HARDWARE": str(self.folder)}
        return os.environ | variables

    def set(self, gpu: int | None = None, *, load: bool = False, **rows: str | int) -> None:
        """Make a GPU (None: all of them) healthy, idle or busy, except for these rows."""
        for card in self.gpus:
            if gpu in (None, card.index):
                self._rows[card.index] = control.describe(card, "test", load=load) | rows
        self._write()

    def set_rig(self, **rows: str | int) -> None:
        """Make the rig healthy, except for these rows."""
        self._rig = dict(rows)
        self._write()

    def _write(self) -> None:
        described = [self._rows[card.index] for card in self.gpus]
        control.write_control(self.folder / "control", described, self._rig)
