"""Both text formats of metrics, written and parsed by prometheus_client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from prometheus_client.registry import Collector

from agent.web.negotiation import choose_format

__all__ = ["Parse", "content", "encode_both", "parse_classic", "parse_openmetrics"]

Parse = Callable[[str], Iterable[Metric]]


def encode_both(metrics: Collector) -> tuple[bytes, bytes]:
    """The classic text and OpenMetrics."""
    classic, openmetrics = (
        choose_format(accept)[0](metrics) for accept in ("", "application/openmetrics-text")
    )
    return classic, openmetrics


def content(parse: Parse, text: bytes) -> dict[str, Any]:
    """Families by name: kind, help, and values by a series' name and labels."""
    families: dict[str, Any] = {}
    for family in parse(text.decode()):
        assert family.name not in families, "a family is duplicated"
        series = [(sample.name, frozenset(sample.labels.items())) for sample in family.samples]
        assert len(set(series)) == len(series), f"a series of {family.name} is duplicated"
        values = [sample.value for sample in family.samples]
        pairs = dict(zip(series, values, strict=True))
        families[family.name] = (family.type, family.documentation, pairs)
    return families
