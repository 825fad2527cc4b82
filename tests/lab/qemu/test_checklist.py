"""The checklist's observations on a real kernel match QEMU's options."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.boundary.facts import BoardFacts, RigFacts
from provision.checklist import checklist
from provision.checklist import configuration as cases
from provision.checklist.checklist import Entry
from tests.lab.qemu.conftest import OPTIONS, Tree

#: The whole facts of a rig, as gathering has them; a machine of files alone has no packages.
FACTS = """
import json
from provision.remote import dpkg
from provision.remote.facts.rig import rig
from provision.remote.facts.tree import Tree
print(json.dumps(rig(Tree(), dpkg.Database(""))))
"""
GPUS = {gpu["name"]: number for number, gpu in enumerate(OPTIONS["gpus"])}


@pytest.fixture(scope="module")
def facts(tree: Tree) -> RigFacts:
    """Read the facts once; they include errors that other tests inject."""
    rig_facts: RigFacts = tree.machine.python(FACTS)
    return rig_facts


def observe_cards(facts: RigFacts, *names: str, **board: Any) -> dict[str, Entry]:
    """Return the observed items for some of the machine's displays as cards of one rig."""
    some = [facts["gpus"][GPUS[name]] for name in names]
    rig_facts: RigFacts = {
        **facts,
        "gpus": some,
        "board": cast(BoardFacts, {**facts["board"], **board}),
    }
    made = checklist.make_checklist(cases.from_facts("qemu", rig_facts, [750.0], {}), {})
    return {entry.id: entry for entry in made.entries if entry.by == "seen"}


@pytest.mark.extended
def test_qemu_displays_match_cards_of_the_hardware_table(facts: RigFacts) -> None:
    made = cases.from_facts("qemu", facts, [], {})
    assert {card.name for card in made.cards} == {"GeForce RTX 3090"}
    assert made.count == len(OPTIONS["gpus"])


@pytest.mark.extended
def test_sub_links_of_the_processor_are_counted(facts: RigFacts) -> None:
    """Ports of the processor have the lanes that QEMU set; ports of a switch do not count."""
    split = observe_cards(facts, "on_wide", "on_four")["split"]
    assert split.status == "ok"
    assert split.reading == ("2 sub-links of the processor's: 0000:00:04.0 x16, 0000:00:05.0 x4")
    narrow = observe_cards(
        facts, "on_wide", "on_riser", name="TUF GAMING B550M-PLUS (WI-FI)", vendor="ASUS"
    )["split"]
    assert narrow.status == "to do"
    assert "0000:00:06.0 x1" in narrow.reading


@pytest.mark.extended
def test_sub_links_of_a_split_slot_are_counted(facts: RigFacts) -> None:
    """Two functions of one device are one split slot; machine.yml has the number of parts."""
    names = [gpu["name"] for gpu in OPTIONS["gpus"] if gpu["port"].startswith("0000:00:0a.")]
    assert len(names) == len(OPTIONS["slots"]["0000:00:0a"])
    split = observe_cards(facts, *names)["split"]
    assert split.reading == ("2 sub-links of the processor's: 0000:00:0a.0 x4, 0000:00:0a.1 x4")


@pytest.mark.extended
def test_single_lane_card_is_not_blamed_on_its_riser(facts: RigFacts) -> None:
    """An emulated endpoint has one lane: its x16 port shows x1, whatever the riser."""
    assert observe_cards(facts, "on_wide", "on_express")["risers"].status == "ok"
    card = facts["gpus"][GPUS["on_express"]]["path"][-1]
    card["max_width"] = 16  # what the same port would mean for a card of 16
    risers = observe_cards(facts, "on_wide", "on_express")["risers"]
    card["max_width"] = 1
    assert risers.status == "to do"
    assert "has x1 of x16" in risers.reading


@pytest.mark.extended
def test_narrow_path_is_to_do(facts: RigFacts) -> None:
    board = {"name": "TUF GAMING B550M-PLUS (WI-FI)", "vendor": "ASUS"}
    assert observe_cards(facts, "on_wide", "on_four", **board)["width"].status == "ok"
    width = observe_cards(facts, "on_four", "on_riser", **board)["width"]
    assert width.status == "to do"
    assert "x1, and x4 is possible" in width.reading


@pytest.mark.extended
def test_memory_windows_match_the_qemu_options(facts: RigFacts) -> None:
    for gpu in OPTIONS["gpus"]:
        if "bar1" not in gpu:
            continue
        bars = facts["gpus"][GPUS[gpu["name"]]]["bars"]
        assert bars[0]["size_bytes"] == gpu["bar1"] << 20, gpu["name"]
    seen = observe_cards(facts, "on_wide", "on_four")
    assert seen["memory-windows"].status == "ok"
    # Its firmware puts windows of some MiB below 4 GiB; a 24 GiB window would not fit.
    assert seen["above-4g"].status == "to do"
    assert seen["rebar"].status == "to do"


@pytest.mark.extended
def test_path_errors_are_reported(tree: Tree) -> None:
    """The test injects them at the port above the card, which counts most real errors."""
    before = observe_cards(tree.machine.python(FACTS), "on_wide")["generation"]
    port = OPTIONS["gpus"][GPUS["on_wide"]]["port"]
    tree.machine.inject_status(port, "correctable", 0)
    after = observe_cards(tree.machine.python(FACTS), "on_wide")["generation"]
    assert after.status == "to do"
    assert after.reading != before.reading
    assert f"at {port}" in after.reading


@pytest.mark.extended
def test_kernel_counts_errors_and_legacy_firmware_is_to_do(facts: RigFacts) -> None:
    seen = observe_cards(facts, "on_wide")
    assert seen["errors-visible"].status == "ok"
    assert seen["csm"].status == "to do"  # QEMU boots this kernel without EFI
    assert seen["secure-boot"].status == "ok"
