"""The machine around the GPUs: memory, disks, kernel, CPU. What it reads, any user may."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.readings.pcie import raise_exhausted

#: Kernel parameters that a deep learning host should not have; what each does, docs/mining-os.md.
HAZARDS = ("pci=noaer", "pci=nomsi", "iommu=soft", "intel_pstate=disable", "nomodeset")
REBOOT_FILES = ("/run/reboot-required", "/var/run/reboot-required")


@dataclass(frozen=True)
class HostReading:
    """Sizes in bytes, frequencies in hertz, times in Unix seconds; None is what can't be read.

    disk_size_bytes and disk_free_bytes: by folder; free is what programs other than root's get.
    cpu_throttles: times that a core or package was slowed down by heat, since boot (Intel only).
    boot_clock_seconds: seconds since boot, time asleep included; it never jumps.
    """

    name: str = ""
    board: str = ""
    cpu: str = ""
    cpu_count: int | None = None
    kernel: str = ""
    boot_clock_seconds: float | None = None
    memory_size_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_size_bytes: int | None = None
    swap_used_bytes: int | None = None
    disk_size_bytes: Mapping[str, int] = field(default_factory=dict)
    disk_free_bytes: Mapping[str, int] = field(default_factory=dict)
    load1: float | None = None
    cpu_throttles: int | None = None
    cpu_frequency_hertz: float | None = None
    cpu_max_frequency_hertz: float | None = None
    reboot_required: bool = False
    kernel_hazards: Mapping[str, bool] = field(default_factory=dict)
    nouveau_loaded: bool = False


class HostReader:
    """Reads the host again and again; what needs a reboot to change is read once."""

    def __init__(
        self,
        *,
        procfs: str = "/proc",
        sysfs: str = "/sys",
        rootfs: str = "/",
        folders: Sequence[str] = ("/",),
    ) -> None:
        self._proc, self._sys, self._root = Path(procfs), Path(sysfs), Path(rootfs)
        self._folders = folders
        board = self._sys / "class/dmi/id"
        maker, model = text(board / "board_vendor"), text(board / "board_name")
        words = text(self._proc / "cmdline").split()
        cpu_info = text(self._proc / "cpuinfo")
        cpu = re.search(r"^model name\s*:\s*(.*)$", cpu_info, re.MULTILINE)
        cpus = self._sys / "devices/system/cpu"
        self._throttle_files = sorted(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        self._frequency_files = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        most = number(cpus / "cpu0/cpufreq/cpuinfo_max_freq")
        self._constant: dict[str, Any] = {
            "name": os.uname().nodename,
            "board": f"{maker} {model}".strip(),
            "cpu": cpu.group(1).strip() if cpu else "",
            "cpu_count": len(re.findall(r"^processor\s*:", cpu_info, re.MULTILINE)) or None,
            "kernel": text(self._proc / "sys/kernel/osrelease"),
            "kernel_hazards": {hazard: hazard in words for hazard in HAZARDS},
            "cpu_max_frequency_hertz": None if most is None else most * 1000.0,
        }

    def read(self) -> HostReading:
        """Everything, fresh."""
        memory = meminfo(text(self._proc / "meminfo"))
        swap, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
        load = text(self._proc / "loadavg").split()
        uptime = text(self._proc / "uptime").split()
        sizes = {folder: disk(self._root / folder.lstrip("/")) for folder in self._separate()}
        known = {folder: size for folder, size in sizes.items() if size is not None}
        throttles = [number(file) for file in self._throttle_files]
        speeds = [speed for file in self._frequency_files if (speed := number(file)) is not None]
        reboot = any((self._root / file.lstrip("/")).exists() for file in REBOOT_FILES)
        return HostReading(
            **self._constant,
            boot_clock_seconds=float(uptime[0]) if uptime else None,
            memory_size_bytes=memory.get("MemTotal"),
            memory_available_bytes=memory.get("MemAvailable"),
            swap_size_bytes=swap,
            swap_used_bytes=None if swap is None or swap_free is None else swap - swap_free,
            disk_size_bytes={folder: size for folder, (size, _) in known.items()},
            disk_free_bytes={folder: free for folder, (_, free) in known.items()},
            load1=float(load[0]) if load else None,
            cpu_throttles=sum(count or 0 for count in throttles) if throttles else None,
            cpu_frequency_hertz=sum(speeds) / len(speeds) * 1000.0 if speeds else None,
            reboot_required=reboot,
            nouveau_loaded=(self._sys / "module/nouveau").exists(),
        )

    def _separate(self) -> list[str]:
        """The folders, one of each file system: no disk is full twice."""
        devices: dict[int, str] = {}
        for folder in self._folders:
            try:
                devices.setdefault((self._root / folder.lstrip("/")).stat().st_dev, folder)
            except OSError:
                continue
        return list(devices.values())


def meminfo(content: str) -> dict[str, int]:
    """/proc/meminfo in bytes.

    >>> meminfo("MemTotal:        4030932 kB")
    {'MemTotal': 4127674368}
    """
    found = re.findall(r"^(\w+):\s+(\d+) kB$", content, re.MULTILINE)
    return {name: int(amount) * 1024 for name, amount in found}


def disk(folder: Path) -> tuple[int, int] | None:
    """Size of the file system that holds the folder, and what of it is free for programs."""
    try:
        info = os.statvfs(folder)
    except OSError:
        return None
    return info.f_frsize * info.f_blocks, info.f_frsize * info.f_bavail


def text(file: Path) -> str:
    """A file's text without the white space around it; empty where it can't be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError as error:
        raise_exhausted(error)
        return ""


def number(file: Path) -> int | None:
    """A file that holds one number."""
    try:
        return int(text(file))
    except ValueError:
        return None
