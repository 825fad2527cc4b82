"""When an item of the checklist applies: named conditions over the case."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from provision.checklist.configuration import RigConfiguration

BIG_WATTS = 225  # above it a card has two 8-pin connectors or more (75 W slot, 150 W each)
REBAR_GENERATION = 4  # cards of PCIe Gen4 and later (Ampere on) can resize their BAR


def _one_lane_board(case: RigConfiguration) -> bool:
    return case.board is not None and bool(case.board.replace)


CONDITIONS: Mapping[str, Callable[[RigConfiguration], bool]] = {
    "rig": lambda case: case.facts is not None,
    "several-gpus": lambda case: case.count > 1,
    # One supply needs no rules for two; unknown supplies may be two.
    "several-psus": lambda case: len(case.psus) != 1,
    "big-cards": lambda case: any(card.board_power > BIG_WATTS for card in case.cards),
    "rebar-cards": lambda case: any(card.generation >= REBAR_GENERATION for card in case.cards),
    "hot-memory": lambda case: any(card.memory_type == "GDDR6X" for card in case.cards),
    "board-steals": lambda case: case.board is not None and bool(case.board.steals),
    "not-one-lane-board": lambda case: not _one_lane_board(case),
    # Only a rule can exclude it; without a rule it is worth a look.
    "split-possible": lambda case: not _one_lane_board(case) and not case.split_denied,
    "wanted-known": lambda case: case.wanted > 0,
}
