"""The metrics of the agent, and the metrics that a PromQL expression names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent"
MONITORING = AGENT / "monitoring"
RULE_FILES = sorted((MONITORING / "rules").glob("*.rules.yml"))
SUFFIX = {"counter": "_total", "info": "_info"}

METRIC = re.compile(r"(?<![\w:])deeprig_\w+\b(?!:)")
RECORD = re.compile(r"\b\w+:deeprig_\w+:\w+\b")


@cache
def table() -> dict[str, list[dict[str, Any]]]:
    """agent/tables/metrics.yml: groups of rows."""
    rows: dict[str, list[dict[str, Any]]] = yaml.safe_load(
        (AGENT / "tables" / "metrics.yml").read_text()
    )
    return rows


def series_name(row: dict[str, Any]) -> str:
    """Return the name of the series of a row."""
    return f"deeprig_{row['name']}{SUFFIX.get(row.get('kind', 'gauge'), '')}"


@cache
def metrics() -> set[str]:
    """The names of all series that the agent may have."""
    return {series_name(row) for rows in table().values() for row in rows}


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every file; `file` and `group` are its place."""
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield {"file": path.name, "group": group["name"], **rule}


@cache
def records() -> set[str]:
    """The names that recording rules give."""
    return {rule["record"] for rule in rules() if "record" in rule}


def unknown_names(text: str) -> set[str]:
    """Return the names in an expression or text that neither agent nor rules define."""
    return (set(METRIC.findall(text)) - metrics()) | (set(RECORD.findall(text)) - records())
