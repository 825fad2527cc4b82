"""What the fake rig's metrics are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GB = 1e9
GIB = 2.0**30


@dataclass(frozen=True)
class Series:
    """One series: its labels, its value at the start and, of a counter, its growth a second."""

    labels: Mapping[str, str]
    value: float
    growth: float = 0.0


Values = dict[str, list[Series]]


@dataclass(frozen=True)
class Gpu:
    """A card and the link that it is on. busy: at work in P2, else idle in P8 at 2.5 GT/s."""

    index: int
    address: str
    parent: str
    busy: bool
    width: int
    expected_width: int
    speed: float
    expected_speed: float

    @property
    def uuid(self) -> str:
        return f"GPU-{self.index}1f2e3d4-0000-4000-8000-{self.index:012}"


def single_series(value: float, growth: float = 0.0, **labels: str) -> list[Series]:
    """A single series."""
    return [Series(labels, value, growth)]


def labelled_series(
    label: str, values: Mapping[str, float], growth: float = 0.0, **more: str
) -> list[Series]:
    """A series for each key of a map, as a row with `label` has it."""
    return [Series({**more, label: key}, value, growth) for key, value in values.items()]
