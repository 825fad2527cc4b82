"""The rule that a board falls back to: rows of inventory/hardware/chipsets.yml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from provision.hardware import FOLDER
from provision.hardware.confidence import Confidence, check_source
from provision.inventory import typed_rows, yaml_source


@dataclass(frozen=True)
class Chipset:
    """A chipset's row. generation: of the chipset's lanes; 0 where it has none or it is unknown.

    splits: of the processor's lanes, as far as the chipset allows; empty where the board decides.
    """

    name: str
    match: str
    socket: str
    generation: int
    rule: str
    confidence: Confidence
    source: str
    splits: tuple[tuple[int, ...], ...] = ()


def chipsets(path: Path = FOLDER / "chipsets.yml") -> list[Chipset]:
    """Return all rows. Raises SourceError with the place of what is wrong."""
    content = yaml_source.load_yaml(path)
    rows = typed_rows.read_rows(Chipset, content, "chipsets")
    for fields, row in zip(content["chipsets"], rows, strict=True):
        check_source(fields, row.source)
        typed_rows.check_expression(fields, "match")
    return rows


def chipset(board_name: str) -> Chipset | None:
    """Return the first row whose word is in a board's name, or None.

    >>> found = chipset("ASRock B450 Gaming K4")
    >>> found.name if found else None
    'B350, B450'
    """
    rows = chipsets()
    return next((row for row in rows if re.search(row.match, board_name, re.IGNORECASE)), None)
