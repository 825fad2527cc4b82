"""What a rig should be: set in its configuration file, or derived from its hardware.

playbooks/agent.yml writes the file (`--config.file`, /etc/deeprig/agent.yml) from the inventory and
the board data; host_names.py reads host_names. Every key is optional.

    gpus: 3
    gpus_from: inventory
    path_width: 4                       # of every GPU's path, in lanes
    path_width_from: "board data: …"
    path_widths: {"0000:08:00.0": 8}    # of one GPU's path, by its PCIe address
    path_speed_gts: 8.0                 # of every GPU's path under load
    power_limits: {"2204": 280}         # watts, by the model (its PCI device id)
    power_limits_of_cards: {GPU-…: 250} # watts, of one card, by its UUID
    thresholds: {memory_free_ratio: 0.02}
    host_names: [rig.example.org]       # that the agent answers to, besides the machine's
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent import tables
from agent.configuration.yaml_file import YamlFile
from agent.readings.links import PciePath
from agent.readings.pcie import ADDRESS, WIDTHS

KEYS = (
    "gpus",
    "gpus_from",
    "path_width",
    "path_width_from",
    "path_widths",
    "path_speed_gts",
    "power_limits",
    "power_limits_of_cards",
    "thresholds",
    "host_names",
)
SPEEDS_GTS = (2.5, 5, 8, 16, 32, 64)
BY_HARDWARE = "the narrowest device on the path"
BY_HARDWARE_SPEED = "the slowest device on the path"


@dataclass(frozen=True)
class Expectations:
    """What should be; None is not set. Widths in lanes, speed in transfers per second, power in W.

    power_limits: by the PCI device id of a model, as in sysfs without 0x; power_limits_of_cards: by
    UUID.
    """

    gpus: int | None = None
    gpus_from: str = ""
    path_width: int | None = None
    path_width_from: str = ""
    path_widths: Mapping[str, int] = field(default_factory=dict)
    path_speed: float | None = None
    power_limits: Mapping[str, float] = field(default_factory=dict)
    power_limits_of_cards: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    config_file: str | None = None

    def add_to(self, path: PciePath, card_width: int | None = None) -> PciePath:
        """Return the path with what is expected of it. card_width: the lanes of the card.

        A width that is set for all cards does not apply to a card with fewer lanes.
        """
        width, width_from = path.max_width, BY_HARDWARE
        if path.address in self.path_widths:
            width, width_from = self.path_widths[path.address], "set for this address"
        elif self.path_width is not None:
            width, width_from = self.path_width, self.path_width_from or "set for this rig"
            if card_width and card_width < width:
                width, width_from = card_width, "all that the card has"
        speed, speed_from = path.max_speed, BY_HARDWARE_SPEED
        if self.path_speed is not None:
            speed, speed_from = self.path_speed, "set for this rig"
        return replace(
            path,
            expected_width=width,
            expected_width_from=width_from,
            expected_speed=speed,
            expected_speed_from=speed_from,
        )

    def power_limit(self, device_id: str, uuid: str | None) -> float | None:
        """Return the watts that a card should be limited to; None for its own limit."""
        return self.power_limits_of_cards.get(uuid or "", self.power_limits.get(device_id))


def load_expectations(file: Path | None) -> Expectations:
    """Read a configuration file, if there is one. Raises ConfigurationError with file and line."""
    thresholds: dict[str, float] = tables.load("thresholds")
    if file is None:
        return Expectations(thresholds=thresholds)
    source = YamlFile.read(file)
    return _parse(source.document, source, thresholds)


def _parse(document: Any, source: YamlFile, defaults: dict[str, float]) -> Expectations:
    source.check_keys(document, KEYS)
    thresholds = document.get("thresholds") or {}
    widths = document.get("path_widths") or {}
    limits = {key: document.get(key) or {} for key in ("power_limits", "power_limits_of_cards")}
    for key, value in (("thresholds", thresholds), ("path_widths", widths), *limits.items()):
        if not isinstance(value, Mapping):
            raise source.error(key, f"'{key}' must be a mapping, not {value!r}")
    for key, value in thresholds.items():
        _check_threshold(key, value, defaults, source)
    for address, width in widths.items():
        if not isinstance(address, str):  # YAML reads 0000:08:00.0 as a number to the base 60
            raise source.error("path_widths", 'PCIe addresses need quotes: "0000:08:00.0"')
        if not ADDRESS.fullmatch(address):
            raise source.error(str(address), f"'{address}' is not a PCIe address (0000:08:00.0)")
        _check_width(width, address, source)
    for rows in limits.values():
        for card, watts in rows.items():
            if not isinstance(card, str):  # YAML reads 2204 as a number
                raise source.error(str(card), f'the name of a model or card needs quotes: "{card}"')
            if isinstance(watts, bool) or not isinstance(watts, (int, float)) or watts <= 0:
                raise source.error(card, f"'{card}' must be a number of watts, not {watts!r}")
    gpus = document.get("gpus")
    if gpus is not None and (isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 0):
        raise source.error("gpus", f"'gpus' must be a number of GPUs, not {gpus!r}")
    width = document.get("path_width")
    if width is not None:
        _check_width(width, "path_width", source)
    speed = document.get("path_speed_gts")
    if speed is not None and (isinstance(speed, bool) or speed not in SPEEDS_GTS):
        speeds = ", ".join(map(str, SPEEDS_GTS))
        raise source.error(
            "path_speed_gts", f"{speed!r} GT/s is not the speed of a PCIe link ({speeds})"
        )
    return Expectations(
        gpus=gpus,
        gpus_from=str(document.get("gpus_from") or "set for this rig"),
        path_width=width,
        path_width_from=str(document.get("path_width_from") or ""),
        path_widths=dict(widths),
        path_speed=None if speed is None else speed * 1e9,
        power_limits=dict(limits["power_limits"]),
        power_limits_of_cards=dict(limits["power_limits_of_cards"]),
        thresholds={**defaults, **thresholds},
        config_file=str(source.file),
    )


def _check_threshold(
    key: object, value: object, defaults: Mapping[str, float], source: YamlFile
) -> None:
    if key not in defaults:
        raise source.error(str(key), f"unknown threshold '{key}'; see agent/tables/thresholds.yml")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise source.error(str(key), f"'{key}' must be a number, not {value!r}")
    if not 0 <= value <= sys.float_info.max:  # a larger integer does not fit a float
        raise source.error(str(key), f"'{key}' must be 0 or more, not {value!r}")


def _check_width(width: object, key: str, source: YamlFile) -> None:
    if isinstance(width, bool) or not isinstance(width, int) or width not in WIDTHS:
        widths = ", ".join(map(str, WIDTHS))
        raise source.error(key, f"'{key}': {width!r} is not the width of a PCIe link ({widths})")
