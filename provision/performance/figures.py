"""The constants and formulas of the predictions, with their sources. Table: figures.yml here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from provision.inventory import typed_rows, yaml_source

TABLE = Path(__file__).parent / "figures.yml"


@dataclass(frozen=True)
class Figure:
    """A number and where it is from. kind: published or assumed."""

    name: str
    value: float
    unit: str
    kind: str
    source: str


@dataclass(frozen=True)
class Formula:
    """What a prediction is counted by."""

    name: str
    text: str
    source: str


Row = TypeVar("Row", Figure, Formula)


@functools.cache
def load() -> dict[str, Figure]:
    """Return the numbers, by name. Raises SourceError."""
    return _read_section("figures", Figure)


@functools.cache
def formulas() -> dict[str, Formula]:
    """Return the formulas by form (layout.FORMS), `collective` and `serve`. Raises SourceError."""
    return _read_section("formulas", Formula)


def _read_section(section: str, kind: type[Row]) -> dict[str, Row]:
    rows = yaml_source.load_yaml(TABLE)[section]
    return {
        str(name): typed_rows.read_row(kind, fields, name=str(name))
        for name, fields in rows.items()
    }


def value(name: str) -> float:
    """Return a figure's value, in its unit."""
    return load()[name].value
