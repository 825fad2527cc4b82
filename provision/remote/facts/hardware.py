"""Ansible's facts on processors, memory, disks and mounts."""

from __future__ import annotations

import os
import re
from typing import Any

from provision.remote.facts.tree import Tree

# Asking these for their size waits for a server that may be gone.
REMOTE = re.compile(r"nfs|cifs|smb|ceph|gluster|9p|fuse\.|afs|sshfs")


def processors(tree: Tree) -> dict[str, Any]:
    """processor (number, vendor and model of each), and how they are counted."""
    listed: list[str] = []
    sockets: dict[str, set[str]] = {}
    socket, threads = "0", 0
    for line in tree.text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if name == "processor":
            threads += 1
            listed.append(value)
        elif name in ("vendor_id", "model name", "Processor"):
            listed.append(value)
        elif name == "physical id":
            socket = value
        elif name == "core id":
            sockets.setdefault(socket, set()).add(value)
    count = len(sockets) or threads
    cores = max((len(ids) for ids in sockets.values()), default=1)
    per_core = max(threads // (count * cores), 1) if count else 1
    return {
        "processor": listed,
        "processor_count": count,
        "processor_cores": cores,
        "processor_threads_per_core": per_core,
        "processor_vcpus": per_core * count * cores,
        "processor_nproc": len(os.sched_getaffinity(0)) if tree.root == "" else threads,
    }


def cpu_model(tree: Tree) -> str:
    """Return the first processor's name."""
    match = re.search(r"^model name\s*:\s*(.*)$", tree.text("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1).strip() if match else ""


def meminfo(tree: Tree) -> dict[str, int]:
    """/proc/meminfo, in MiB."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", tree.text("/proc/meminfo"), re.MULTILINE)
    return {name: int(amount) // 1024 for name, amount in lines}


def memory(tree: Tree) -> dict[str, Any]:
    """memtotal_mb and its relatives."""
    info = meminfo(tree)
    total, free = info.get("MemTotal", 0), info.get("MemFree", 0)
    cached = info.get("Cached", 0) + info.get("Buffers", 0)
    swap, swap_free = info.get("SwapTotal", 0), info.get("SwapFree", 0)
    return {
        "memtotal_mb": total,
        "memfree_mb": free,
        "swaptotal_mb": swap,
        "swapfree_mb": swap_free,
        "memory_mb": {
            "real": {"total": total, "used": total - free, "free": free},
            "nocache": {"free": free + cached, "used": total - free - cached},
            "swap": {
                "total": swap,
                "free": swap_free,
                "used": swap - swap_free,
                "cached": info.get("SwapCached", 0),
            },
        },
    }


def mount_table(tree: Tree) -> list[dict[str, str]]:
    """Return every line of /proc/self/mounts: device, mount, fstype, options."""
    table = []
    for line in tree.text("/proc/self/mounts").splitlines():
        fields = [re.sub(r"\\([0-7]{3})", _octal, field) for field in line.split(" ")]
        if len(fields) >= 4:
            names = ("device", "mount", "fstype", "options")
            table.append(dict(zip(names, fields)))
    return table


def mounts(tree: Tree) -> list[dict[str, Any]]:
    """Return the mounted file systems that have a device, with their sizes; remote ones without."""
    identifiers = {
        os.path.realpath(path): os.path.basename(path)
        for path in (tree.path(name) for name in tree.glob("/dev/disk/by-uuid/*"))
    }
    result = []
    for entry in mount_table(tree):
        if not entry["device"].startswith("/") and ":/" not in entry["device"]:
            continue
        mount: dict[str, Any] = {**entry, "dump": 0, "passno": 0}
        real = os.path.realpath(tree.path(entry["device"]))
        mount["uuid"] = identifiers.get(real, "N/A")
        if not REMOTE.match(entry["fstype"]):
            mount.update(tree.usage(entry["mount"]))
        result.append(mount)
    return result


def devices(tree: Tree) -> dict[str, Any]:
    """Block devices: model, size and partitions."""
    result: dict[str, Any] = {}
    for name in tree.names("/sys/block"):
        folder = f"/sys/block/{name}"
        sectors = int(tree.line(f"{folder}/size") or 0)
        result[name] = {
            "model": tree.line(f"{folder}/device/model") or None,
            "vendor": tree.line(f"{folder}/device/vendor") or None,
            "removable": tree.line(f"{folder}/removable"),
            "rotational": tree.line(f"{folder}/queue/rotational"),
            "sectors": sectors,
            "sectorsize": tree.line(f"{folder}/queue/logical_block_size") or "512",
            "size": readable(sectors * 512),
            "virtual": 0 if tree.exists(f"{folder}/device") else 1,
            "partitions": {
                part: {
                    "sectors": int(tree.line(f"{folder}/{part}/size") or 0),
                    "start": int(tree.line(f"{folder}/{part}/start") or 0),
                    "size": readable(int(tree.line(f"{folder}/{part}/size") or 0) * 512),
                }
                for part in tree.names(folder)
                if part.startswith(name) and tree.exists(f"{folder}/{part}/start")
            },
        }
    return result


def readable(amount: float) -> str:
    """Bytes as Ansible writes them: "931.51 GB"."""
    for unit in ("Bytes", "KB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.2f} {unit}"
        amount /= 1024
    return f"{amount:.2f} TB"


def _octal(match: re.Match[str]) -> str:
    return chr(int(match.group(1), 8))
