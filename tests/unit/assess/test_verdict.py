"""The verdict: system, board, and the lanes of each option."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from provision.assess import pcie_tree, verdict
from provision.assess.finding import Finding
from provision.boundary.facts import Gpu
from provision.discovery.plan import Refusal
from provision.errors import SourceError
from provision.hardware import power
from provision.inventory.hosts import Host
from provision.performance import machine
from provision.performance.links import Link

SEED = replace(
    machine.from_words("3x RTX 3090", "gen2x1,gen2x1,gen3x1", "B450 Steel Legend", "Ryzen 5 1600"),
    ports=(Link(2, 1), Link(2, 1), Link(3, 16)),
)


@pytest.mark.parametrize(
    ("refusals", "findings", "system"),
    [
        ([], [], "convert in place"),
        ([Refusal("usb-watchdog", "unplug it")], [], "fix, then convert in place"),
        ([Refusal("disk", "8 GB"), Refusal("usb-watchdog", "unplug it")], [], "reinstall"),
        ([Refusal("mining-system", "RaveOS")], [], "reinstall"),
        ([Refusal("taken-over", "runs what it fetches")], [], "reinstall"),
        ([Refusal("rental", "a host of vast.ai")], [], "fix, then convert in place"),
        ([], [Finding("ld.so.preload", "/x.so", "critical", "is loaded")], "reinstall"),
        ([], [Finding("keys", "/x", "critical", "a vendor's")], "convert in place"),
        ([], [Finding("starts by itself", "/x", "critical", "fetches")], "reinstall"),
        ([], [Finding("starts by itself", "/x", "warning", "fetches")], "convert in place"),
        ([], [Finding("users", "evil", "critical", "is root")], "reinstall"),
        ([], [Finding("on the bus", "0", "critical", "is gone")], "fix, then convert in place"),
        ([], [Finding("heat", "0", "critical", "no fan")], "convert in place"),
    ],
)
def test_system_verdict_follows_refusals_and_findings(
    refusals: list[Refusal], findings: list[Finding], system: str
) -> None:
    made = verdict.judge_rig(refusals, findings, SEED)
    assert made.system == system
    assert made.system_why


def test_converted_rig_is_recognised() -> None:
    assert verdict.judge_rig([], [], SEED, converted=True).system == "converted"
    was = [Finding("earlier takeover", "/etc/rc.local", "warning", "it fetched", "Reinstall it.")]
    made = verdict.judge_rig([], was, SEED, converted=True)
    assert made.system == "converted"
    assert "/etc/rc.local" in made.system_why[1]
    disk = [Refusal("disk", "8 GB")]
    assert verdict.judge_rig(disk, [], SEED, converted=True).system == "reinstall"


def test_board_of_the_seed_rig_is_kept_if_its_bios_splits_the_slot() -> None:
    made = verdict.judge_rig([], [], SEED)
    assert made.board == "keep, if its BIOS splits the slot"
    assert "confidence C" in made.board_why[0]
    lanes = {option.name: (option.links, option.lanes) for option in made.options}
    assert lanes["now"] == (("Gen2 x1", "Gen2 x1", "Gen3 x1"), 3)
    assert lanes["bifurcation"] == (("Gen3 x4",) * 3, 12)
    assert min(int(link.split(" x")[1]) for link in lanes["board"][0]) >= 8


@pytest.mark.parametrize(
    ("board", "cpu", "links", "wanted"),
    [
        ("TUF GAMING B550M-PLUS (WI-FI)", "Ryzen 5 3600", "3x gen3x1", "keep, with other risers"),
        ("H110 Pro BTC+", "Pentium G4400", "6x gen2x1", "replace"),
        ("ROMED8-2T", "EPYC 7302", "3x gen4x16", "keep"),
        ("PRIME B250M-A", "Core i5-7500", "3x gen2x1", "replace"),
        # Its row is the vendor's, without splitting.
        ("B450M Steel Legend", "Ryzen 5 1600", "3x gen2x1", "keep, if its BIOS splits the slot"),
        ("", "", "1x gen3x1", "keep"),
    ],
)
def test_board_verdict_follows_links_and_processor(
    board: str, cpu: str, links: str, wanted: str
) -> None:
    count = links[0]
    rig = machine.from_words(f"{count}x RTX 3090", links, board, cpu)
    assert verdict.judge_rig([], [], rig).board == wanted


def test_board_verdict_without_a_known_gpu_is_unknown() -> None:
    assert verdict.judge_rig([], [], None).board == "unknown"


def test_power_budget_assigns_gpus_and_the_host_to_supplies() -> None:
    gpus = [("a", 350.0), ("b", 350.0), ("c", 350.0)]
    stock = power.budget("stock", gpus, [750.0, 750.0])
    assert stock.watts == 1200
    assert not stock.carries
    assert [len(supply.gpus) for supply in stock.supplies] == [1, 2]
    assert [supply.host for supply in stock.supplies] == [True, False]
    assert power.budget("limited", [(g, 280.0) for g, _ in gpus], [750.0, 750.0]).carries
    assert power.budget("one", gpus, [1600.0]).carries
    assert power.budget("none", gpus, []).supplies == ()


@pytest.mark.parametrize("given", ["750", [0], ["750 W"], [-1], [float("inf")], [float("nan")]])
def test_power_supplies_must_be_a_list_of_watts(given: object) -> None:
    with pytest.raises(SourceError, match="list of watts"):
        power.supplies_of(Host("attic", {"psus": given}, ()))
    assert power.supplies_of(Host("attic", {}, ())) == []


def test_drawn_tree_shares_the_common_ports() -> None:
    def port(address: str, kind: str, now: int, most: int) -> dict[str, object]:
        return {
            "address": address,
            "kind": kind,
            "current_width": now,
            "max_width": most,
            "max_speed_gts": 8.0,
        }

    switch = [port("0000:00:01.0", "root port", 4, 4), port("0000:02:00.0", "upstream port", 4, 4)]
    gpus = []
    for n in (4, 5):
        ports = [
            port(f"0000:03:0{n}.0", "downstream port", 1, 1),
            port(f"0000:0{n}:00.0", "endpoint", 1, 16),
        ]
        gpus.append({"device_id": "2204", "path_width": 1, "path": [*switch, *ports]})
    assert pcie_tree.draw(cast(list[Gpu], gpus), {"2204": "RTX 3090"}) == [
        "processor",
        "└─ 0000:00:01.0 root port  x4, up to 8 GT/s",
        "   └─ 0000:02:00.0 upstream port  x4, up to 8 GT/s",
        "      ├─ 0000:03:04.0 downstream port  x1, up to 8 GT/s  <- narrowest",
        "      │  └─ 0000:04:00.0 RTX 3090  x1 of x16, up to 8 GT/s",
        "      └─ 0000:03:05.0 downstream port  x1, up to 8 GT/s  <- narrowest",
        "         └─ 0000:05:00.0 RTX 3090  x1 of x16, up to 8 GT/s",
    ]
