"""How sure a row of a hardware table is, and the check that it says from where it is known."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from provision.errors import SourceError
from provision.inventory import yaml_source

Confidence: TypeAlias = Literal["A", "B", "C"]

MEANINGS = {
    "A": "the vendor's or the specification's word",
    "B": "a report from the field",
    "C": "a claim that nobody has confirmed",
}


def check_source(fields: Any, told: str) -> None:
    """Raise SourceError, with the place, where a row's source is empty."""
    if not told.strip():
        at = fields.at("source") if isinstance(fields, yaml_source.Mapping) else None
        raise SourceError("'source' is empty", at, "Say from where this is known.")
