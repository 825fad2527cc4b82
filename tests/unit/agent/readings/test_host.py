"""The host from a /proc and /sys in a folder."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from agent.readings.host import HAZARDS, HostReader, HostReading

FILES = {
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 pci=realloc,noaer xpci=nomsi nomodeset=0",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Celeron G3930\n\nprocessor\t: 1\n",
    "proc/meminfo": "MemTotal: 4030932 kB\nMemAvailable: 3000000 kB\nSwapTotal: 1000 kB\n"
    "SwapFree: 400 kB\nHugePages_Total: 0\n",
    "proc/loadavg": "0.52 0.58 0.59 1/467 12345",
    "proc/uptime": "350735.47 234388.90",
    "proc/sys/kernel/osrelease": "6.1.0-18-amd64",
    "sys/class/dmi/id/board_vendor": "ASUSTeK COMPUTER INC.",
    "sys/class/dmi/id/board_name": "B250 MINING EXPERT",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "4",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "5",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2000000",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "3000000",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2900000",
}


def write(folder: Path, **more: str) -> None:
    for name, content in {**FILES, **more}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content + "\n")


def reader(folder: Path, *folders: str) -> HostReader:
    return HostReader(
        procfs=str(folder / "proc"),
        sysfs=str(folder / "sys"),
        rootfs=str(folder),
        folders=folders or ("/",),
    )


def test_all_fields_of_the_host_are_read(tmp_path: Path) -> None:
    write(tmp_path)
    host = reader(tmp_path).read()
    wanted: dict[str, Any] = {
        "name": os.uname().nodename,
        "board": "ASUSTeK COMPUTER INC. B250 MINING EXPERT",
        "cpu": "Celeron G3930",
        "cpu_count": 2,
        "kernel": "6.1.0-18-amd64",
        "boot_clock_seconds": 350735.47,
        "memory_size_bytes": 4030932 * 1024,
        "memory_available_bytes": 3000000 * 1024,
        "swap_size_bytes": 1000 * 1024,
        "swap_used_bytes": 600 * 1024,
        "load1": 0.52,
        "cpu_throttles": 12,
        "cpu_frequency_hertz": 2.5e9,
        "cpu_max_frequency_hertz": 2.9e9,
        "reboot_required": False,
        "nouveau_loaded": False,
        # Whole words: neither xpci=nomsi nor nomodeset=0.
        "kernel_hazards": dict.fromkeys(HAZARDS, False) | {"pci=noaer": True},
    }
    assert {name: getattr(host, name) for name in wanted} == wanted
    assert set(wanted) | {"disk_size_bytes", "disk_free_bytes"} == {
        field.name for field in fields(HostReading)
    }
    info = os.statvfs(tmp_path)
    assert host.disk_size_bytes == {"/": info.f_frsize * info.f_blocks}
    assert 0 <= host.disk_free_bytes["/"] <= host.disk_size_bytes["/"]


def test_unreadable_files_give_empty_fields(tmp_path: Path) -> None:
    host = reader(tmp_path / "gone").read()
    hazards = dict.fromkeys(HAZARDS, False)
    assert host == HostReading(name=os.uname().nodename, kernel_hazards=hazards)


def test_swap_usage_is_unknown_without_the_free_size(tmp_path: Path) -> None:
    write(tmp_path, **{"proc/meminfo": "MemTotal: 1 kB\nSwapTotal: 1 kB"})
    host = reader(tmp_path).read()
    assert (host.swap_size_bytes, host.swap_used_bytes) == (1024, None)


def test_missing_folder_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    host = reader(tmp_path, "/", "/var", "/gone").read()
    # /var is on the file system of /, whose size is reported once.
    assert set(host.disk_size_bytes) == set(host.disk_free_bytes) == {"/"}


def test_folder_on_a_separate_file_system_is_listed() -> None:
    host = reader(Path("/"), "/", "/proc").read()
    assert set(host.disk_size_bytes) == {"/", "/proc"}


def test_only_values_that_can_change_are_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    host = reader(tmp_path)
    host.read()
    write(
        tmp_path,
        **{
            "proc/loadavg": "2.5 1 1 1/1 1",
            "proc/cmdline": "quiet",
            "run/reboot-required": "",
            "sys/module/nouveau/refcnt": "0",
            "proc/meminfo": "MemTotal: 1 kB",
            "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "no number",
        },
    )
    reading = host.read()
    assert (reading.load1, reading.reboot_required, reading.nouveau_loaded) == (2.5, True, True)
    assert (reading.memory_available_bytes, reading.swap_size_bytes) == (None, None)
    assert reading.swap_used_bytes is None
    assert reading.cpu_throttles == 7
    assert reading.kernel_hazards["pci=noaer"], "of the kernel that runs"
