"""A checklist: each item with its status, from an observation or a saved answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Literal, TypedDict

from provision.checklist import items
from provision.checklist.configuration import RigConfiguration
from provision.checklist.items import Item
from provision.checklist.observations import Status, observe
from provision.hardware.chipsets import Chipset

By = Literal["seen", "answered", ""]


@dataclass(frozen=True)
class Entry:
    """One item of a rig. before: how it stood when it was last looked at; empty where it was not.

    words: what to look for in a BIOS whose menu is not known.
    """

    id: str
    group: str
    title: str
    status: Status
    by: By
    reading: str
    how: str
    why: str
    ask: str
    words: tuple[str, ...]
    source: str
    confidence: str
    before: str = ""

    @property
    def moved(self) -> bool:
        """Whether its status has changed."""
        return bool(self.before) and self.before != self.status


class LastLook(TypedDict, total=False):
    """What a checklist remembers. items: status by item's id. Empty before the first look."""

    boot_id: str
    items: Mapping[str, str]


class BoardDocument(TypedDict):
    """The board's name, and the rows of the board's and of its chipset's table."""

    name: str
    known: dict[str, object] | None
    chipset: dict[str, object] | None


class ChecklistDocument(TypedDict):
    """A checklist, as JSON has it. items: Entry's fields."""

    host: str
    board: BoardDocument
    cpu: str
    gpus: list[str]
    wanted_width: int
    rebooted: bool | None
    counts: dict[str, int]
    items: list[dict[str, object]]


@dataclass(frozen=True)
class Checklist:
    """All of one rig. rebooted: whether it was since it was last looked at; None: never was."""

    case: RigConfiguration
    entries: tuple[Entry, ...]
    rebooted: bool | None = None

    @property
    def groups(self) -> list[tuple[str, list[Entry]]]:
        """The entries under their headings."""
        return [
            (name, list(rows)) for name, rows in groupby(self.entries, lambda entry: entry.group)
        ]

    @property
    def counts(self) -> dict[str, int]:
        """The number of items by status."""
        return {
            status: sum(entry.status == status for entry in self.entries)
            for status in ("ok", "to do", "open")
        }

    @property
    def news(self) -> str:
        """What a reboot changed since the last look; empty where there was none."""
        if not self.rebooted:
            return ""
        moved = [entry for entry in self.entries if entry.moved]
        changes = "; ".join(f"{entry.title}: {entry.before} -> {entry.status}" for entry in moved)
        return f"Rebooted since the last look. {changes or 'Nothing changed by it'}."

    def document(self) -> ChecklistDocument:
        """As JSON has it."""
        case = self.case
        return {
            "host": case.name,
            "board": {
                "name": case.board_name,
                "known": asdict(case.board) if case.board else None,
                "chipset": asdict(case.chipset) if case.chipset else None,
            },
            "cpu": case.cpu_name,
            "gpus": [card.name for card in case.cards],
            "wanted_width": case.wanted,
            "rebooted": self.rebooted,
            "counts": self.counts,
            "items": [asdict(entry) for entry in self.entries],
        }


def make_checklist(
    case: RigConfiguration, answers: Mapping[str, bool], seen: LastLook | None = None
) -> Checklist:
    """Return the checklist. answers: by item's id. seen: boot_id and items of the last look."""
    last: LastLook = seen or {}
    before: Mapping[str, str] = last.get("items") or {}
    entries = tuple(_entry(item, case, answers, before) for item in items.applicable_items(case))
    rebooted = None
    if last and case.facts is not None:
        rebooted = last.get("boot_id") != case.facts["boot_id"]
    return Checklist(case, entries, rebooted)


def _entry(
    item: Item, case: RigConfiguration, answers: Mapping[str, bool], before: Mapping[str, str]
) -> Entry:
    status: Status = "open"
    by: By = ""
    reading = ""
    if item.observe:
        observed = observe(case, item.observe)
        status, reading = observed.status, observed.reading
        by = "" if status == "open" else "seen"
    if status == "open" and item.id in answers:
        status, by = ("ok" if answers[item.id] else "to do"), "answered"
    return Entry(
        id=item.id,
        group=item.group,
        title=item.title,
        status=status,
        by=by,
        reading=reading,
        how=item.describe(case),
        why=item.why,
        ask=item.ask,
        words=() if item.menu_known(case) else item.words,
        source=item.source,
        confidence=item.confidence,
        before=str(before.get(item.id, "")),
    )


def describe_board(case: RigConfiguration) -> list[str]:
    """Return sentences on the board and its slots."""
    lines = []
    board, chipset = case.board, case.chipset
    if board is not None:
        lines.append(f"Known of this board (confidence {board.confidence}): {board.source}")
        for slot in board.slots:
            many = f"{slot.count} x " if slot.count > 1 else ""
            ways = " or ".join(map(_ways, slot.splits))
            can = f", splits as {ways}" if ways else ""
            origin = "the processor" if slot.lanes_from == "cpu" else "the chipset"
            lines.append(f"{many}{slot.name}: x{slot.lanes} from {origin}{can}")
        lines += [*board.notes, *board.steals]
        silent = not any(slot.splits for slot in board.slots)
        if chipset is not None and (silent or board.confidence == "C"):
            lines.append(f"The rule of its chipset ({chipset.name}): {_rule(chipset)}")
        if board.replace:
            lines.append(f"Not worth keeping for this: {board.replace}.")
    elif chipset is not None:
        lines.append(
            f"The board is not in the table; the rule of its chipset ({chipset.name}): "
            f"{_rule(chipset)}"
        )
    else:
        lines.append("Neither the board nor its chipset is in the tables: nothing is known of it.")
    if case.cpu is not None:
        ways = ", ".join(map(_ways, case.cpu.splits))
        lines.append(
            f"The processor: {case.cpu.lanes} lanes of Gen{case.cpu.generation} for slots, at best "
            f"as {ways}; a board may do less."
        )
    return lines


def _rule(chipset: Chipset) -> str:
    return f"{chipset.rule} ({chipset.source}, confidence {chipset.confidence})"


def _ways(split: Sequence[int]) -> str:
    """x8/x4/x4"""
    return "/".join(f"x{lanes}" for lanes in split)
