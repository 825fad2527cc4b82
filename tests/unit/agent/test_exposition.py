"""What is served is what prometheus_client would write, read back by its own parsers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf, isnan, nan
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from prometheus_client.registry import Collector

from agent.sampling.exposition import CLASSIC, OPENMETRICS, Family, Renderer, labels

NASTY = ["plain", "", 'a "b"', "back\\slash", "two\nlines", "\\n", '\\"', "ends in \\", "µ °C {}=,"]
Parse = Callable[[str], Iterable[Metric]]


def content(parse: Parse, text: bytes) -> dict[str, Any]:
    """Families by name: kind, help, and values by a series' name and labels."""
    found: dict[str, Any] = {}
    for family in parse(text.decode()):
        assert family.name not in found, "a family stands twice"
        series = [(one.name, frozenset(one.labels.items())) for one in family.samples]
        assert len(set(series)) == len(series), f"a series of {family.name} stands twice"
        values = [one.value for one in family.samples]
        found[family.name] = (
            family.type, family.documentation, dict(zip(series, values, strict=True)),
        )  # fmt: skip
    return found


class Theirs(Collector):
    """The same families, made by prometheus_client."""

    def collect(self) -> Iterable[Metric]:
        gauge = GaugeMetricFamily("x_celsius", 'Help with "quotes", \\ and\na line.', labels=["a"])
        for number, value in enumerate(NASTY):
            gauge.add_metric([value], number / 3)
        counter = CounterMetricFamily("x_errors", "A counter.", labels=["a", "kind"])
        for value in NASTY:
            counter.add_metric(["gpu", value], 12345.5)
        info = InfoMetricFamily("x", "An info.", labels=["a"])
        info.add_metric(["gpu"], {"b": 'a "b"'})
        bare = GaugeMetricFamily("x_bare", "Without labels.")
        bare.add_metric([], 2.5e-9)
        return [gauge, counter, info, bare]


def ours() -> list[tuple[Family, list[tuple[str, str, float]]]]:
    gauge = Family("x_celsius", "gauge", 'Help with "quotes", \\ and\na line.')
    counter = Family("x_errors", "counter", "A counter.", "kind")
    info = Family("x", "info", "An info.")
    return [
        (gauge, [(labels(a=value), "", number / 3) for number, value in enumerate(NASTY)]),
        (counter, [(labels(a="gpu"), value, 12345.5) for value in NASTY]),
        (info, [(labels(a="gpu", b='a "b"'), "", 1)]),
        (Family("x_bare", "gauge", "Without labels."), [("", "", 2.5e-9)]),
    ]


def test_both_formats_are_what_prometheus_client_writes() -> None:
    registry = CollectorRegistry()
    registry.register(Theirs())
    theirs: list[Any] = [
        write(registry) for write in (generate_latest, openmetrics.generate_latest)
    ]
    classic, new = Renderer().render(ours())
    assert content(parse_classic, classic) == content(parse_classic, theirs[0])
    assert content(parse_openmetrics, new) == content(parse_openmetrics, theirs[1])
    assert new == theirs[1]


def test_a_second_time_is_like_the_first_and_takes_new_values() -> None:
    renderer = Renderer()
    first = renderer.render(ours())
    assert renderer.render(ours()) == first
    family = Family("x_bare", "gauge", "Without labels.")
    assert b"x_bare 3.0\n" in renderer.render([(family, [("", "", 3)])])[0]


def test_a_family_without_series_is_not_written() -> None:
    assert Renderer().render([(Family("x", "gauge", "Help."), [])]) == (b"", b"# EOF\n")


def test_series_that_come_and_go() -> None:
    renderer, family = Renderer(), Family("x", "gauge", "Help.")
    for number in range(50):
        points = [(labels(a=str(number + offset)), "", float(offset)) for offset in range(3)]
        text = renderer.render([(family, points)])[0].decode()
        series = [line for line in text.splitlines() if not line.startswith("#")]
        assert series == [f'x{{a="{number + offset}"}} {offset}.0' for offset in range(3)]
    assert len(renderer._names["x"]) <= 9, "names of series that are gone are kept"


@pytest.mark.parametrize("value", [0, 1, True, False, -1, 1e-9, 2**53, 1.5e300, inf, -inf, nan])
@pytest.mark.parametrize("parse", [parse_classic, parse_openmetrics])
def test_a_value_comes_back_as_it_was(value: float, parse: Parse) -> None:
    both = Renderer().render([(Family("x", "gauge", "Help."), [("", "", value)])])
    text = both[0 if parse is parse_classic else 1]
    ((_, _, found),) = content(parse, text).values()
    (back,) = found.values()
    assert back == value or (isnan(back) and isnan(value))


def test_the_content_types_name_their_format() -> None:
    assert CLASSIC.startswith("text/plain; version=0.0.4")
    assert OPENMETRICS.startswith("application/openmetrics-text; version=1.0.0")
