"""What the lab stores about a rig, as JSON files in the rig's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict


class RigSettings(TypedDict, total=False):
    """What outlasts a reboot.

    layers: folders, the uppermost first. folders: of this machine, with packages for the rig.
    xids, last_xids: how many Xids so far and the last code, by the number of the GPU.
    """

    layers: list[str]
    folders: list[str]
    repository: str
    flavour: str
    hardware: str
    profile: str
    port: int
    xids: dict[str, int]
    last_xids: dict[str, str]


class RigState(TypedDict, total=False):
    """What the rig does now. since: Unix seconds. status: nspawn's exit status after the end."""

    state: str
    boots: int
    since: float
    status: int


class BootRecord(TypedDict, total=False):
    """What the last boot found. missing: numbers of GPUs."""

    profile: str
    missing: list[int]


def read_record(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty if the file does not exist."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        return {}


def write_record(file: Path, values: Mapping[str, object]) -> None:
    """Replace a JSON file in one step."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(values))
    draft.replace(file)
