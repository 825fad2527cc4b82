"""A PCIe tree in sysfs, from a compact table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLASSES = {"bridge": "0x060400", "vga": "0x030000", "3d": "0x030200", "audio": "0x040300"}


def device(
    sysfs: Path,
    path: str,
    kind: str = "bridge",
    ids: str = "8086:1901",
    link: Sequence[Any] | None = None,
    **more: Any,
) -> Path:
    """One device: its addresses from the root bus, its vendor:device, its link.

    link is current width, maximal width, current speed, maximal speed, as sysfs writes them.
    more: driver, subsystem, numa_node, and any file of sysfs by its name.
    """
    folder = sysfs / "devices/pci0000:00"
    for address in path.split():
        folder = folder / address
    folder.mkdir(parents=True)
    vendor, product = ids.split(":")
    subsystem_vendor, subsystem = more.pop("subsystem", "1043:8769").split(":")
    files: dict[str, Any] = {
        "class": CLASSES.get(kind, kind),
        "vendor": f"0x{vendor}",
        "device": f"0x{product}",
        "subsystem_vendor": f"0x{subsystem_vendor}",
        "subsystem_device": f"0x{subsystem}",
        "revision": "0xa1",
        "numa_node": "-1",
    }
    names = ("current_link_width", "max_link_width", "current_link_speed", "max_link_speed")
    files.update(zip(names, link or (), strict=False))
    driver = more.pop("driver", None)
    if driver:
        target = sysfs / "bus/pci/drivers" / driver
        target.mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(target)
    for name, value in {**files, **more}.items():
        (folder / name).write_text(f"{value}\n")
    entry = sysfs / "bus/pci/devices" / path.split()[-1]
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.symlink_to(folder)
    return folder


def gpu_on_a_riser(sysfs: Path, **more: Any) -> None:
    """A 3090 behind a USB riser: x1 from the chipset, though both ends could do more."""
    device(sysfs, "0000:00:1c.0", ids="8086:a2e7", link=(1, 1, "8.0 GT/s PCIe", "8.0 GT/s PCIe"))
    settings: Mapping[str, Any] = {
        "kind": "vga",
        "ids": "10de:2204",
        "link": (1, 16, "2.5 GT/s PCIe", "16.0 GT/s PCIe"),
        "driver": "nvidia",
        **more,
    }
    device(sysfs, "0000:00:1c.0 0000:03:00.0", **settings)
