"""The rig's files of /proc: CPU, memory, swap, the kernel's command line."""

from __future__ import annotations

import re
from pathlib import Path

from lab.simulate.hardware import Hardware

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
LINUX_LINE = re.compile(r"^\s*linux\s+(\S+)\s+(.*?)\s*$", re.MULTILINE)


def write_proc(proc: Path, hardware: Hardware, root: Path) -> None:
    """Write what a rig with this hardware and this root shows after its next boot."""
    proc.mkdir(parents=True, exist_ok=True)
    (proc / "driver").mkdir(exist_ok=True)
    (proc / "cpuinfo").write_text(cpuinfo(hardware))
    (proc / "meminfo").write_text(meminfo(hardware.memory_kib))
    (proc / "cmdline").write_text(f"{read_command_line(root)}\n")
    (proc / "swaps").write_text(SWAPS)
    (proc / "modules").write_text("")


def read_command_line(root: Path) -> str:
    """Return the kernel's command line from this root's boot loader."""
    config = root / "boot/grub/grub.cfg"
    match = LINUX_LINE.search(config.read_text()) if config.is_file() else None
    return f"BOOT_IMAGE={match[1]} {match[2]}" if match else "BOOT_IMAGE=/boot/vmlinuz"


def cpuinfo(hardware: Hardware) -> str:
    """Write /proc/cpuinfo: one block for each thread."""
    cpu = hardware.cpu
    cores, threads = int(cpu["cores"]), int(cpu["threads"])
    blocks = []
    for thread in range(threads):
        rows = {
            "processor": thread,
            "vendor_id": cpu["vendor_id"],
            "cpu family": cpu["cpu family"],
            "model": cpu["model"],
            "model name": cpu["model name"],
            "stepping": cpu["stepping"],
            "microcode": "0x8001138",
            "cpu MHz": f"{cpu['mhz']:.3f}",
            "cache size": cpu["cache"],
            "physical id": 0,
            "siblings": threads,
            "core id": thread * cores // threads,
            "cpu cores": cores,
            "apicid": thread,
            "fpu": "yes",
            "cpuid level": 13,
            "flags": cpu["flags"],
            "bogomips": f"{cpu['mhz'] * 2:.2f}",
        }
        blocks.append("".join(f"{key}\t: {value}\n" for key, value in rows.items()))
    return "\n".join(blocks) + "\n"


def meminfo(total_kib: int) -> str:
    """Write /proc/meminfo of an idle machine with this much memory and no swap."""
    rows = {
        "MemTotal": total_kib,
        "MemFree": total_kib * 6 // 10,
        "MemAvailable": total_kib * 8 // 10,
        "Buffers": total_kib // 50,
        "Cached": total_kib // 5,
        "SwapCached": 0,
        "Active": total_kib // 8,
        "Inactive": total_kib // 6,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": 64,
        "Shmem": 9216,
        "Slab": total_kib // 40,
        "CommitLimit": total_kib // 2,
        "Committed_AS": total_kib // 4,
    }
    text = "".join(f"{f'{key}:':<16}{value:>8} kB\n" for key, value in rows.items())
    return (
        f"{text}HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n"
    )
