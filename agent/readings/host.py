"""The machine around the GPUs: memory, disks, kernel, CPU. Any user can read all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from agent.readings.command_line import list_parameters
from agent.readings.pcie import raise_exhausted

#: Kernel parameters that a deep learning host should not have; docs/mining-os.md explains each.
HAZARDS = ("pci=noaer", "pci=nomsi", "iommu=soft", "intel_pstate=disable", "nomodeset")
REBOOT_FILES = ("/run/reboot-required", "/var/run/reboot-required")


@dataclass(frozen=True)
class HostReading:
    """Sizes in bytes, frequencies in hertz, times in Unix seconds. None: cannot be read.

    disk_size_bytes, disk_free_bytes: by folder; free is what users other than root can use.
    cpu_throttles: how often heat slowed a core or package down since boot (Intel only).
    boot_clock_seconds: seconds since boot, including time asleep; this clock never jumps.
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


class HostConstants(TypedDict):
    """The fields of a HostReading that stay while the host runs."""

    name: str
    board: str
    cpu: str
    cpu_count: int | None
    kernel: str
    kernel_hazards: dict[str, bool]
    cpu_max_frequency_hertz: float | None


class HostReader:
    """Reads the host repeatedly; values that change only with a reboot are read once."""

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
        maker, model = read_text(board / "board_vendor"), read_text(board / "board_name")
        parameters = list_parameters(read_text(self._proc / "cmdline").split())
        cpu_info = read_text(self._proc / "cpuinfo")
        cpu = re.search(r"^model name\s*:\s*(.*)$", cpu_info, re.MULTILINE)
        cpus = self._sys / "devices/system/cpu"
        self._throttle_files = sorted(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        self._frequency_files = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        most = read_number(cpus / "cpu0/cpufreq/cpuinfo_max_freq")
        self._constant: HostConstants = {
            "name": os.uname().nodename,
            "board": f"{maker} {model}".strip(),
            "cpu": cpu.group(1).strip() if cpu else "",
            "cpu_count": len(re.findall(r"^processor\s*:", cpu_info, re.MULTILINE)) or None,
            "kernel": read_text(self._proc / "sys/kernel/osrelease"),
            "kernel_hazards": {hazard: hazard in parameters for hazard in HAZARDS},
            "cpu_max_frequency_hertz": None if most is None else most * 1000.0,
        }

    def read(self) -> HostReading:
        """Return current values."""
        memory = parse_meminfo(read_text(self._proc / "meminfo"))
        swap, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
        load = read_text(self._proc / "loadavg").split()
        uptime = read_text(self._proc / "uptime").split()
        sizes = {
            folder: read_disk(self._root / folder.lstrip("/"))
            for folder in self._list_file_systems()
        }
        file_systems = {folder: size for folder, size in sizes.items() if size is not None}
        throttles = [read_number(file) for file in self._throttle_files]
        speeds = [
            speed for file in self._frequency_files if (speed := read_number(file)) is not None
        ]
        reboot = any((self._root / file.lstrip("/")).exists() for file in REBOOT_FILES)
        return HostReading(
            **self._constant,
            boot_clock_seconds=float(uptime[0]) if uptime else None,
            memory_size_bytes=memory.get("MemTotal"),
            memory_available_bytes=memory.get("MemAvailable"),
            swap_size_bytes=swap,
            swap_used_bytes=None if swap is None or swap_free is None else swap - swap_free,
            disk_size_bytes={folder: size for folder, (size, _) in file_systems.items()},
            disk_free_bytes={folder: free for folder, (_, free) in file_systems.items()},
            load1=float(load[0]) if load else None,
            cpu_throttles=sum(count or 0 for count in throttles) if throttles else None,
            cpu_frequency_hertz=sum(speeds) / len(speeds) * 1000.0 if speeds else None,
            reboot_required=reboot,
            nouveau_loaded=(self._sys / "module/nouveau").exists(),
        )

    def _list_file_systems(self) -> list[str]:
        """Return one folder of each file system, so that no disk is counted twice."""
        devices: dict[int, str] = {}
        for folder in self._folders:
            try:
                devices.setdefault((self._root / folder.lstrip("/")).stat().st_dev, folder)
            except OSError:
                continue
        return list(devices.values())


def parse_meminfo(content: str) -> dict[str, int]:
    """Return the sizes of /proc/meminfo in bytes.

    >>> parse_meminfo("MemTotal:        4030932 kB")
    {'MemTotal': 4127674368}
    """
    rows = re.findall(r"^(\w+):\s+(\d+) kB$", content, re.MULTILINE)
    return {name: int(amount) * 1024 for name, amount in rows}


def read_disk(folder: Path) -> tuple[int, int] | None:
    """Return the size of the folder's file system, and the part that users can still use."""
    try:
        info = os.statvfs(folder)
    except OSError:
        return None
    return info.f_frsize * info.f_blocks, info.f_frsize * info.f_bavail


def read_text(file: Path) -> str:
    """Return a file's text, stripped; empty if it cannot be read."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError as error:
        raise_exhausted(error)
        return ""


def read_number(file: Path) -> int | None:
    """Return the number in a file; None if it cannot be read."""
    try:
        return int(read_text(file))
    except ValueError:
        return None
