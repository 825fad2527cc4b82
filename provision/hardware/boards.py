"""Boards by name: rows of inventory/hardware/boards.yml."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from provision.boundary.facts import BoardFacts
from provision.hardware import FOLDER
from provision.hardware.confidence import Confidence, check_source
from provision.inventory import typed_rows, yaml_source


@dataclass(frozen=True)
class BoardSlot:
    """A slot as the board names it, or `count` alike. generation 0: the processor's own.

    splits: the ways in which its lanes can be divided; empty where that is not known.
    """

    name: str
    lanes: int
    lanes_from: Literal["cpu", "chipset"]
    generation: int = 0
    count: int = 1
    splits: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class PathWidth:
    """How many lanes every GPU can have when there are so many of them, or fewer."""

    gpus: int
    width: int


@dataclass(frozen=True)
class Board:
    """A board's row; inventory/hardware/boards.yml explains the fields."""

    name: str
    vendor: str
    confidence: Confidence
    source: str
    path_widths: tuple[PathWidth, ...]
    match: str = ""
    chipset: str = ""
    socket: str = ""
    slots: tuple[BoardSlot, ...] = ()
    menu: str = ""
    steals: tuple[str, ...] = ()
    replace: str = ""
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[tuple[int, ...], ...]:
        """The ways in which lanes of its slots can be divided, as far as they are known."""
        return tuple(split for slot in self.slots for split in slot.splits)

    def width(self, gpus: int) -> int:
        """Return the lanes that each of so many GPUs can have; 0 where the table has no value."""
        return next((row.width for row in self.path_widths if row.gpus >= gpus), 0)


def boards(path: Path = FOLDER / "boards.yml") -> list[Board]:
    """Return all boards of the table. Raises SourceError with the place of what is wrong."""
    content = yaml_source.load_yaml(path)
    rows = typed_rows.read_rows(Board, content, "boards")
    for fields, row in zip(content["boards"], rows, strict=True):
        check_source(fields, row.source)
        typed_rows.check_expression(fields, "match")
    return rows


def of_firmware(facts: BoardFacts, table: Sequence[Board]) -> tuple[str, Board | None]:
    """Vendor and name as a rig's facts of its board have them, and its row. None if not known."""
    full = f"{facts['vendor']} {facts['name']}".strip()
    return full, board(facts["name"], table) or board(full, table)


def board(name: str, table: Sequence[Board]) -> Board | None:
    """Return a board by its firmware's name, also with its vendor before it; None if not known."""
    wanted = name.strip().lower()
    for row in table:
        if wanted in (row.name.lower(), f"{row.vendor} {row.name}".lower()):
            return row
    for row in table:
        if row.match and re.search(row.match, name, re.IGNORECASE):
            return row
    return None
