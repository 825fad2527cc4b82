"""What software can observe of each item."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.checklist import observations
from provision.checklist.observations import OBSERVERS
from tests.unit.checklist.cases import GIB, case, describe_case, gpu, port

LOW = 0xC0000000
SWITCHED = {
    **gpu(1),
    "path": [
        port("0000:00:01.3", "root port", 4, 4),
        port("0000:02:00.2", "upstream port", 4, 4),
        port("0000:03:00.0", "downstream port", 1, 1),
        port("0000:01:00.0", "endpoint", 1, 16),
    ],
}


def limit_lanes(card: dict[str, Any], lanes: int) -> dict[str, Any]:
    """Return a card with fewer than 16 lanes, such as a P104-100 with 4."""
    return {**card, "path": [*card["path"][:-1], {**card["path"][-1], "max_width": lanes}]}


SLOW = {"address": "0000:01:00.0", "loaded_speed": 2.5e9, "expected_speed": 8e9}
FAST = {**SLOW, "loaded_speed": 8e9}


@pytest.mark.parametrize(
    ("name", "changes", "status", "words"),
    [
        ("risers", {}, "ok", "as wide as the slots"),
        ("risers", {"gpus": [gpu(1, now=1, slot=16)]}, "to do", "0000:01:00.0 has x1 of x16"),
        ("risers", {"gpus": [SWITCHED]}, "ok", ""),
        ("risers", {"gpus": [limit_lanes(gpu(1, now=1, slot=16), 4)]}, "to do", "has x1 of x4"),
        ("risers", {"gpus": [limit_lanes(gpu(1, now=4, slot=16), 4)]}, "ok", "as wide"),
        ("nvme", {}, "ok", "no NVMe"),
        ("nvme", {"board": {"nvme": ["0000:01:00.0"]}}, "open", "0000:01:00.0"),
        ("budget", {}, "to do", "300 W for each GPU would fit"),
        ("budget", {"psus": (650.0,)}, "to do", "any sensible limit, add a supply"),
        ("budget", {"psus": ()}, "open", "psus"),
        ("budget", {"psus": (1600.0,)}, "ok", "1200 of 1280 W"),
        ("watchdog", {}, "ok", "none"),
        ("watchdog", {"usb_watchdogs": [{"id": "5131:2007", "product": "x"}]}, "to do", "x"),
        ("split", {}, "ok", "3 sub-links of the processor's: 0000:00:03.1 x4"),
        ("split", {"gpus": [SWITCHED, gpu(2)]}, "open", "not known"),
        (
            "split",
            {"gpus": [SWITCHED, gpu(2)], "board": {"name": "TUF GAMING B550M-PLUS (WI-FI)"}},
            "to do",
            "1 sub-link of",
        ),
        ("above_4g", {}, "ok", "3 of 3"),
        ("above_4g", {"gpus": [gpu(1, start=LOW), gpu(2)]}, "to do", "1 of 2"),
        ("above_4g", {"messages": "BAR 1: can't assign; no space"}, "to do", "room"),
        ("above_4g", {"gpus": [{**gpu(1), "bars": []}]}, "to do", "no memory window"),
        ("rebar", {}, "ok", "3 x 32 GiB of 24"),
        ("rebar", {"gpus": [gpu(1, size=GIB // 4), gpu(2)]}, "to do", "1 x 0.25 GiB of 24"),
        ("rebar", {"gpus": [gpu(1, size=GIB // 4, largest=GIB // 4)]}, "to do", "at most 0.25"),
        (
            "split",
            {"root_ports": [port(f"0000:00:03.{n}", "root port", 4, 4) for n in range(1, 5)]},
            "ok",
            "4 sub-links of the processor's",
        ),
        ("csm", {}, "ok", "EFI"),
        ("csm", {"board": {"efi": False}}, "to do", "legacy"),
        ("iommu", {}, "ok", "off"),
        ("iommu", {"board": {"iommus": ["ivhd0"]}}, "to do", "translates"),
        (
            "iommu",
            {"board": {"iommus": ["dmar0"]}, "kernel": {"command_line": ["iommu=pt"]}},
            "ok",
            "passthrough",
        ),
        ("generation", {}, "ok", "none since"),
        ("generation", {"gpus": [gpu(1, errors=7)]}, "to do", "7 at 0000:00:03.1"),
        ("secure_boot", {}, "ok", "off"),
        ("secure_boot", {"secure_boot": True}, "to do", "on"),
        ("secure_boot", {"secure_boot": None}, "ok", "not there"),
        ("errors_visible", {}, "ok", "counted"),
        ("errors_visible", {"kernel": {"command_line": ["pci=noaer"]}}, "to do", "pci=noaer"),
        ("windows", {}, "ok", "all have"),
        ("windows", {"gpus": [{**gpu(1), "bars": []}]}, "to do", "0000:01:00.0"),
        ("windows", {"messages": "no space for [mem size 0x10000000]"}, "to do", "no room"),
        ("width", {"board": {"name": "TUF GAMING B550M-PLUS (WI-FI)"}}, "ok", "x4 or more"),
        (
            "width",
            {"board": {"name": "TUF GAMING B550M-PLUS (WI-FI)"}, "gpus": [gpu(1, now=1), gpu(2)]},
            "to do",
            "01:00.0 x1, and x4 is possible",
        ),
        (
            "width",
            {"board": {"name": "ROMED8-2T"}, "gpus": [limit_lanes(gpu(1, slot=16), 4)]},
            "ok",
            "all that the card has",
        ),
        ("speed", {}, "open", "fab validate"),
        ("speed", {"paths": [FAST]}, "ok", "full speed"),
        ("speed", {"paths": [FAST, SLOW]}, "to do", "2.5 GT/s"),
        ("speed", {"paths": [{**FAST, "loaded_speed": None}]}, "open", "under load"),
    ],
)
def test_item_is_observed_from_facts(
    name: str, changes: dict[str, Any], status: str, words: str
) -> None:
    observation = observations.observe(case(**changes), name)
    assert (observation.status, words in observation.reading) == (status, True), observation


@pytest.mark.parametrize("name", OBSERVERS)
def test_items_are_open_without_a_rig(name: str) -> None:
    assert observations.observe(describe_case("B450 Steel Legend"), name).status == "open"


@pytest.mark.parametrize("name", OBSERVERS)
def test_facts_of_an_older_deeprig_are_accepted(name: str) -> None:
    old = case(
        gpus=[
            {
                "address": "0000:01:00.0",
                "device_id": "2204",
                "root_port": None,
                "path_width": 1,
                "path": [],
            }
        ]
    )
    del cast(dict[str, Any], old.facts)["secure_boot"]
    assert observations.observe(old, name).status in ("ok", "to do", "open")
