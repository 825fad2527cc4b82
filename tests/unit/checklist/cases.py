"""Rigs for the checklist's tests: the seed rig's case, and changes to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from provision.boundary.facts import RigFacts
from provision.checklist import configuration as cases
from provision.checklist.configuration import RigConfiguration

GIB = 1 << 30


def port(address: str, kind: str, now: int, most: int, errors: int | None = 0) -> dict[str, Any]:
    counts = None if errors is None else {"correctable": errors, "nonfatal": 0, "fatal": 0}
    return {
        "address": address,
        "kind": kind,
        "current_width": now,
        "max_width": most,
        "max_speed_gts": 8.0,
        "errors": counts,
    }


def gpu(
    at: int,
    now: int = 4,
    slot: int = 4,
    start: int = 64 * GIB,
    size: int = 32 * GIB,
    errors: int | None = 0,
    largest: int | None = None,
) -> dict[str, Any]:
    """Return a 3090 behind a root port of the processor."""
    root = f"0000:00:03.{at}"
    return {
        "address": f"0000:0{at}:00.0",
        "device_id": "2204",
        "root_port": root,
        "path_width": now,
        "path": [
            port(root, "root port", now, slot, errors),
            port(f"0000:0{at}:00.0", "endpoint", now, 16),
        ],
        "bars": [{"region": 1, "start": start, "size_bytes": size, "largest_bytes": largest}],
    }


def facts(**changes: Any) -> dict[str, Any]:
    """Return the facts of a converted seed rig with its slot split."""
    board = {"vendor": "ASRock", "name": "B450 Steel Legend", "efi": True, "iommus": [], "nvme": []}
    rig_facts: dict[str, Any] = {
        "boot_id": "b00t-1",
        "board": {**board, **changes.pop("board", {})},
        "cpu": {"model": "AMD Ryzen 5 1600 Six-Core Processor"},
        "kernel": {"command_line": ["quiet"]},
        "secure_boot": False,
        "usb_watchdogs": [],
        "gpus": [gpu(1), gpu(2), gpu(3)],
    }
    rig_facts |= changes
    root_ports = [gpu_facts["path"][0] for gpu_facts in rig_facts["gpus"] if gpu_facts["path"]]
    return {"root_ports": root_ports, **rig_facts}


def case(
    messages: str = "", paths: Any = None, psus: Any = (750.0, 750.0), **changes: Any
) -> RigConfiguration:
    """Return its configuration; changes are changes of the facts."""
    return cases.from_facts("rig", cast(RigFacts, facts(**changes)), psus, {}, messages, paths)


def describe_case(
    board: str, cpu: str = "", gpus: str = "3x RTX 3090", psus: str = ""
) -> RigConfiguration:
    """Return a configuration without a rig."""
    return replace(cases.from_words(board, cpu, gpus, psus), name="described")
