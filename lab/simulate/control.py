"""The control file: what the lab's NVML reports of each GPU, in lines "GPU KEY VALUE".

Written whole on every change, by rename; what adds up over time (energy, time spent throttled)
is carried over from the file before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from lab.simulate.hardware import LabGpu
from lab.simulate.pcie import write

Rows = dict[str, str | int]

IDLE, POWER_CAP, SW_THERMAL, HW_THERMAL = 0x1, 0x4, 0x20, 0x40
THROTTLED = SW_THERMAL | HW_THERMAL
ARCHITECTURE_AMPERE, BRAND_GEFORCE = 7, 5


def describe(gpu: LabGpu, rig: str, *, load: bool = False) -> Rows:
    """Return what a healthy GPU reports, idle or under load."""
    model, power = gpu.model, gpu.model["power"]
    now = model["busy" if load else "idle"]
    rows: Rows = {
        "name": model["name"],
        "uuid": gpu.uuid(rig),
        "bus": gpu.address,
        "vbios": model["vbios"],
        "compute": str(model["compute"]),
        "architecture": ARCHITECTURE_AMPERE,
        "brand": BRAND_GEFORCE,
        "cores": model["cores"],
        "bus_width": 384,
        "memory_mib": model["memory_mib"],
        "reserved_mib": model["reserved_mib"],
        "bar1_mib": model["bars"][1],
        "used_mib": model["memory_mib"] * 3 // 4 if load else 1,
        "fans": 2,
        "fan": now["fan"],
        "celsius": now["celsius"] + gpu.index,  # so that no two cards have the same temperature
        "pstate": 2 if load else 8,
        "busy": 99 if load else 0,
        "reasons": 0 if load else IDLE,
        "power": power["busy" if load else "idle"] * 1000,
        "power_default": power["default"] * 1000,
        "power_min": power["min"] * 1000,
        "power_max": power["max"] * 1000,
        "tx_kbs": 350_000 if load else 0,
        "rx_kbs": 420_000 if load else 0,
    }
    for name in ("graphics", "sm", "memory", "video"):
        rows[f"clock_{name}"] = now[name]
        rows[f"most_{name}"] = model["clocks"][name]
    for name in ("shutdown", "slowdown", "max", "target"):
        rows[f"limit_{name}"] = model["limits"][name]
    return rows


def write_control(file: Path, gpus: Iterable[Rows], rig: Rows) -> None:
    """Write the control file; its counters continue those of the file before."""
    before, lines = read_control(file), []
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    for index, rows in enumerate(gpus):
        old = before.get(str(index), {})
        lasted = now - int(old.get("since_ms", now))
        reasons = int(old.get("reasons", 0))
        sums = {
            "energy_mj": int(old.get("power", 0)) * lasted // 1000,
            "capped_ms": lasted if reasons & POWER_CAP else 0,
            "throttled_ms": lasted if reasons & THROTTLED else 0,
        }
        added = {key: int(old.get(key, 0)) + more for key, more in sums.items()}
        whole = {**rows, **added, "since_ms": now}
        lines += [f"{index} {key} {value}" for key, value in whole.items()]
    lines += [f"- {key} {value}" for key, value in rig.items()]
    write(file, "\n".join(lines))


def read_control(file: Path) -> dict[str, dict[str, str]]:
    """Read a control file back: the rows of each GPU, and those of the rig under "-"."""
    rows: dict[str, dict[str, str]] = {}
    if file.exists():
        for line in file.read_text().splitlines():
            if line:
                target, key, value = line.split(" ", 2)
                rows.setdefault(target, {})[key] = value
    return rows
