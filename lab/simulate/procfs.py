"""The rig's files of /proc: CPU, memory, swap, the kernel's command line."""

from __future__ import annotations

from pathlib import Path

from lab.simulate import grub
from lab.simulate.hardware import Hardware

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


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
    """Return the kernel's command line from this root's boot menu."""
    folder = root / "boot/grub"
    config, environment = folder / "grub.cfg", folder / "grubenv"
    if not config.is_file():
        return "BOOT_IMAGE=/boot/vmlinuz"
    variables = environment.read_text() if environment.is_file() else ""
    return grub.command_line(config.read_text(), variables)


def consume_next_entry(root: Path) -> None:
    """Do to grubenv what GRUB does when it boots `next_entry`."""
    environment = root / "boot/grub/grubenv"
    if environment.is_file():
        text = environment.read_text()
        if "\nnext_entry=" in f"\n{text}":
            environment.write_text(grub.forget_next_entry(text))


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
