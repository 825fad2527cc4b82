"""Processors by name: rows of inventory/hardware/cpus.yml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from provision.hardware import FOLDER
from provision.hardware.confidence import Confidence, check_source
from provision.inventory import typed_rows, yaml_source


@dataclass(frozen=True)
class Cpu:
    """A processor's row. memory_gbps: GB/s, all channels; splits: lanes of the GPUs' slots."""

    match: str
    socket: str
    lanes: int
    generation: int
    splits: tuple[tuple[int, ...], ...]
    chipset_generation: int
    memory_gbps: float
    memory: str
    confidence: Confidence
    source: str


def cpus(path: Path = FOLDER / "cpus.yml") -> list[Cpu]:
    """Return all rows. Raises SourceError with the place of what is wrong."""
    content = yaml_source.load_yaml(path)
    rows = typed_rows.read_rows(Cpu, content, "cpus")
    for fields, row in zip(content["cpus"], rows, strict=True):
        check_source(fields, row.source)
        typed_rows.check_expression(fields, "match")
    return rows


def cpu(name: str) -> Cpu | None:
    """Return the first row that matches a processor's name, None where none does."""
    return next((row for row in cpus() if re.search(row.match, name, re.IGNORECASE)), None)
