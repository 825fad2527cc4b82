"""Rigs for the tests: described by flags, and by facts."""

from __future__ import annotations

from typing import Any, cast

from provision.boundary.facts import RigFacts
from provision.performance import machine
from provision.performance.machine import Machine


def seed(links: str = "gen2x1,gen2x1,gen3x16", gpus: str = "3x RTX 3090") -> Machine:
    """The rig that the project began with: three RTX 3090 on a B450."""
    return machine.from_words(gpus, links, "B450 Steel Legend", "AMD Ryzen 5 1600 Six-Core")


def port(address: str, width: int, speed: float, maximum: int = 16) -> dict[str, Any]:
    return {
        "address": address,
        "kind": "bridge",
        "vendor_id": "1022",
        "device_id": "1453",
        "current_width": width,
        "max_width": maximum,
        "current_speed_gts": 2.5,
        "max_speed_gts": speed,
    }


def gpu(path: list[dict[str, Any]], device: str = "2204") -> dict[str, Any]:
    return {
        "address": path[-1]["address"],
        "device_id": device,
        "path_width": min(link["current_width"] for link in path),
        "path_max_width": min(link["max_width"] for link in path),
        "path_speed_max_gts": min(link["max_speed_gts"] for link in path),
        "path": path,
    }


def facts(
    *gpus: dict[str, Any], memory_mib: int = 3936, driver: str | None = "580.95.05"
) -> RigFacts:
    rig = {
        "gpus": list(gpus),
        "board": {"vendor": "ASRock", "name": "B450 Steel Legend"},
        "cpu": {"model": "AMD Ryzen 5 1600 Six-Core Processor"},
        "memory": {"total_mib": memory_mib},
        "driver": {"loaded_version": driver},
    }
    return cast(RigFacts, rig)
