"""The confidence of a row in a hardware table, and the check that the row names its source."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from provision.errors import SourceError
from provision.inventory import yaml_source

Confidence: TypeAlias = Literal["A", "B", "C"]

MEANINGS = {
    "A": "the vendor's or the specification's word",
    "B": "a report from the field",
    "C": "a claim without confirmation",
}


def check_source(fields: Any, source: str) -> None:
    """Raise SourceError, with the place, where a row's source is empty."""
    if not source.strip():
        at = fields.at("source") if isinstance(fields, yaml_source.YamlMapping) else None
        raise SourceError("'source' is empty", at, "Add the source.")
