"""Documents of the agent's API for the page: the examples, and changed rigs.

Every call returns a new document, which a test may change.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

Document = dict[str, Any]
EXAMPLES = Path(__file__).parents[1] / "unit" / "agent" / "documents"
FIRST_BUS = 0x10  # of the GPUs that many() makes up


def rig() -> Document:
    """Three 3090s; the third has x1 where x4 is expected."""
    document: Document = json.loads((EXAMPLES / "rig.json").read_text())
    return document


def history() -> Document:
    """An hour of values; the second GPU has a gap."""
    document: Document = json.loads((EXAMPLES / "history.json").read_text())
    return document


def shift_times(document: Document, now: float) -> Document:
    """Return the document as if it were sampled at `now` (Unix seconds)."""
    last = document.get("sampled_at") or (document.get("times") or [0.0])[-1]
    moved = _shift_times(document, now - last)
    assert isinstance(moved, dict)
    return moved


def _shift_times(value: Any, seconds: float) -> Any:
    if isinstance(value, dict):
        return {
            key: item + seconds
            if key.endswith("_at") and item is not None
            else [time + seconds for time in item]
            if key == "times"
            else _shift_times(item, seconds)
            for key, item in value.items()
        }
    return [_shift_times(item, seconds) for item in value] if isinstance(value, list) else value


def verdict(**fields: str) -> Document:
    """A verdict, with defaults."""
    return {
        "check": "gpu-temperature",
        "subject": "rig",
        "status": "warning",
        "title": "Temperature",
        "reading": "91 °C",
        "expectation": "below 88 °C",
        "why": "A hot GPU lowers its clocks.",
        "advice": "Clean its fans.",
    } | fields


def lose_gpu(document: Document, number: int, problem: str) -> str:
    """Let a GPU fall off the bus; return its address."""
    gpu = document["gpus"][number]
    gpu.update(up=False, reading=None, problem=problem)
    for device in document["pcie"]["devices"]:
        if device["address"] == gpu["address"]:
            device.update(answers=False, current_width=None, current_speed=None)
    for path in document["pcie"]["paths"]:
        if path["address"] == gpu["address"]:
            path.update(width=None, speed=None)
    document["verdicts"].insert(
        0,
        verdict(
            check="gpu-answers",
            subject=gpu["address"],
            status="critical",
            title="GPU answers",
            reading=problem,
            expectation="answers",
            advice="It fell off the bus: reboot.",
        ),
    )
    address: str = gpu["address"]
    return address


def without_driver() -> Document:
    """The bus shows three GPUs, and no driver answers for any."""
    document = rig()
    document["driver"] = {
        "state": "missing",
        "detail": "the module nvidia is not loaded",
        "driver_version": None,
        "nvml_version": None,
        "cuda_version": None,
        "module_version": None,
    }
    for gpu in document["gpus"]:
        gpu.update(
            up=False,
            reading=None,
            index=None,
            uuid=None,
            name="",
            problem="no driver",
            read_at=None,
            read_duration_seconds=None,
        )
    document["nccl"] = {"results": [], "ignored": []}
    document["xids"] = []
    document["status"] = "critical"
    document["verdicts"] = [
        verdict(
            check="driver",
            status="critical",
            title="NVIDIA driver",
            reading="missing",
            expectation="a driver that answers",
            advice="Install it: `fab provision`.",
        )
    ]
    return document


def build_many(number: int = 8) -> Document:
    """GPUs in fours behind switches below one more switch; the last has x8 for x16."""
    document = rig()
    model, device = document["gpus"][2], document["pcie"]["devices"][-1]
    gpus, devices, paths = [], [], []

    def port(address: str, kind: str, parent: str, width: int = 16) -> str:
        made = copy.deepcopy(device)
        made.update(
            address=address,
            kind=kind,
            parent=parent,
            vendor_id="10b5",
            device_id="8747",
            current_width=width,
            max_width=16,
            current_speed=16e9,
            max_speed=16e9,
            changes=0,
            aer=None,
        )
        devices.append(made)
        return address

    root = port("0000:00:01.1", "root port", "")
    top = port("0000:01:00.0", "upstream port", root)
    for number_ in range(number):
        if number_ % 4 == 0:
            outlet = port(f"0000:02:{number_:02x}.0", "downstream port", top)
            switch = port(f"0000:{3 + number_:02x}:00.0", "upstream port", outlet)
        last = number_ == number - 1
        slot = port(f"0000:04:{number_:02x}.0", "downstream port", switch, 8 if last else 16)
        address = port(f"0000:{FIRST_BUS + number_:02x}:00.0", "endpoint", slot, 8 if last else 16)
        devices[-1].update(vendor_id="10de", device_id="2204")
        gpu = copy.deepcopy(model)
        gpu.update(address=address, index=number_, uuid=f"GPU-{number_:08x}")
        gpu["reading"].update(address=address, index=number_, uuid=gpu["uuid"])
        gpus.append(gpu)
        paths.append(
            document["pcie"]["paths"][2]
            | {
                "address": address,
                "devices": [root, top, outlet, switch, slot, address],
                "width": 8 if last else 16,
                "max_width": 16,
                "expected_width": 16,
                "speed": 16e9,
                "max_speed": 16e9,
                "bandwidth": 31.5e9,
            }
        )
    document.update(gpus=gpus, pcie={"devices": devices, "paths": paths}, xids=[])
    document["expectations"]["gpus"] = number
    document["verdicts"] = [
        verdict(
            check="pcie-width",
            subject=gpu["address"],
            status="ok" if path["width"] == 16 else "warning",
            title="PCIe width",
            reading=f"x{path['width']}",
            expectation="x16 (the narrowest device on the path)",
            advice="" if path["width"] == 16 else "Reseat the card.",
        )
        for gpu, path in zip(gpus, paths, strict=True)
    ]
    document["status"] = "warning"
    return document
