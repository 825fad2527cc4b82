"""Every query of the dashboards, as Grafana would send it to Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.monitoring.names import MONITORING

DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
LABEL_VALUES = re.compile(r"label_values\((?P<series>.+),\s*(?P<label>\w+)\)")


@dataclass(frozen=True)
class Query:
    """One expression. panel: its title, or `$name` for a variable's query."""

    dashboard: str
    panel: str
    expr: str

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def load(path: Path) -> dict[str, Any]:
    """A dashboard's JSON."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def raw_queries(path: Path) -> Iterator[Query]:
    """The queries of one dashboard, with Grafana's variables in them."""
    document = load(path)
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            match = LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert match, f"{path.name}: ${variable['name']} is not label_values(series, label)"
            expr = f"group by ({match['label']}) ({match['series']})"
            yield Query(path.stem, f"${variable['name']}", expr)
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            yield Query(path.stem, panel["title"], target["expr"])


def queries(job: str, instance: str, window: str = "1m") -> Iterator[Query]:
    """All queries of all dashboards, for one rig.

    job, instance: what the variables are set to. window: Prometheus' duration for
    $__rate_interval, at least two scrapes long.
    """
    values = {"job": job, "instance": instance, "__rate_interval": window}
    for path in DASHBOARDS:
        for query in raw_queries(path):
            expr = re.sub(r"\$([A-Za-z_]\w*)", lambda match: values[match[1]], query.expr)
            yield Query(query.dashboard, query.panel, expr)
