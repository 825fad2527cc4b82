"""Every metric of tables/metrics.yml: served as in the table, absent if unknown."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.registry import Collector

from agent.checks.sample import Sample
from agent.checks.verdicts import judge_sample
from agent.configuration import settings
from agent.readings.nvml import GpuReading
from agent.sampling.metrics import PREFIX, MetricRow, MetricTable, SampleCollector, Subject
from agent.sampling.sampler import PublishedSample, Sampler
from lab.simulate.simulated_rig import SimulatedRig, build
from tests.unit.agent import samples
from tests.unit.agent.formats import content, encode_both, parse_classic, parse_openmetrics

GPU = "0000:04:00.0"
ROWS: list[dict[str, Any]] = [
    {"group": group, **row} for group, rows in samples.table("metrics").items() for row in rows
]
NAMES = [row["name"] for row in ROWS]
THINGS = {
    "uuid",
    "address",
    "device",
    "check",
    "subject",
    "collective",
    "backend",
    "ranks",
    "direction",
}
EXAMPLE = re.search(
    r"^```json\n(.*?)^```$",
    (Path(__file__).parents[3] / "docs/nccl-results.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def make_filled_sample() -> Sample:
    """Return the healthy rig with every value of its first GPU and host."""
    sample = samples.make_sample({"xids": [{"address": GPU, "xid": 79}]})
    maps: dict[str, Any] = {"Numbers | None": {"a": 1.5}, "Mapping[str, bool] | None": {"a": True}}
    plain = {"float | None": 2.5, "int | None": 2, "bool | None": True, "str | None": "text"}
    state = sample.gpus[0]
    assert state.reading is not None
    reading = replace(
        state.reading,
        **{
            field.name: (maps | plain)[str(field.type)]
            for field in fields(GpuReading)
            if getattr(state.reading, field.name) is None
        },
    )
    host = replace(sample.host, load1=0.5, cpu_frequency_hertz=2e9, cpu_max_frequency_hertz=4e9)
    agent = replace(sample.agent, resident_bytes={"server": 1})
    gpus = (replace(state, reading=reading), *sample.gpus[1:])
    sample = replace(sample, gpus=gpus, host=host, agent=agent)
    return replace(sample, verdicts=judge_sample(samples.context(sample)))


def render(sample: Sample) -> tuple[bytes, bytes]:
    """The sample in the classic format and in OpenMetrics."""
    return encode_both(SampleCollector(MetricTable(samples.table("metrics")), sample))


FILLED = render(make_filled_sample())
CLASSIC, NEW = content(parse_classic, FILLED[0]), content(parse_openmetrics, FILLED[1])


def series(family: str, families: dict[str, Any] = NEW) -> dict[Any, float]:
    """A family's values by labels."""
    values = families.get(PREFIX + family, ("", "", {}))[2]
    return {labels: value for (_, labels), value in values.items()}


def value(family: str, families: dict[str, Any] = NEW, **labels: str) -> float | None:
    return series(family, families).get(frozenset(labels.items()))


NASTY = ["plain", "", 'a "b"', "back\\slash", "two\nlines", "\\n", '\\"', "ends in \\", "µ °C {}=,"]


class OneRow(Collector):
    """The family of one row, with subjects that the test chooses."""

    def __init__(self, subjects: list[Subject], **row: Any) -> None:
        self._row = MetricRow.parse({"name": "x", "help": "Help.", "from": "value", **row})
        self._subjects = subjects

    def collect(self) -> list[Metric]:
        return [self._row.build_family(self._subjects)]


@pytest.mark.parametrize("kind", ["gauge", "counter"])
@pytest.mark.parametrize("openmetrics", [False, True])
def test_label_may_contain_any_text(kind: str, openmetrics: bool) -> None:
    metrics = OneRow(
        [Subject({"a": "b"}, {"value": dict.fromkeys(NASTY, 2.5)})],
        kind=kind,
        label="key",
        help='Help with "quotes", \\ and\na line.',
    )
    parse = parse_openmetrics if openmetrics else parse_classic
    ((found_kind, found_help, values),) = content(parse, encode_both(metrics)[openmetrics]).values()
    assert (found_kind, found_help) == (kind, 'Help with "quotes", \\ and\na line.')
    name = "deeprig_x_total" if kind == "counter" else "deeprig_x"
    assert values == {(name, frozenset({("a", "b"), ("key", text)})): 2.5 for text in NASTY}


@pytest.mark.parametrize("value", [0, 1, True, False, -1, 1e-9, 2**53, 1.5e300, inf, -inf, nan])
@pytest.mark.parametrize("openmetrics", [False, True])
def test_value_survives_encoding_and_parsing(value: float, openmetrics: bool) -> None:
    metrics = OneRow([Subject({}, {"value": value})])
    parse = parse_openmetrics if openmetrics else parse_classic
    ((_, _, values),) = content(parse, encode_both(metrics)[openmetrics]).values()
    (back,) = values.values()
    assert back == value or (isnan(back) and isnan(value))


def test_a_family_without_series_is_not_written() -> None:
    table = MetricTable({"rig": [{"name": "x", "from": "gpus_expected", "help": "Help."}]})
    sample = samples.make_sample({"expectations": {"gpus": None}})
    assert encode_both(SampleCollector(table, sample)) == (b"", b"# EOF\n")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_metric_matches_its_table_row(row: dict[str, Any]) -> None:
    kind = row.get("kind", "gauge")
    name = PREFIX + row["name"]
    assert NEW[name][:2] == (kind, row["help"])
    classic = f"{name}_info" if kind == "info" else name
    assert CLASSIC[classic][:2] == ("gauge" if kind == "info" else kind, row["help"])
    suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
    row_labels = set(row.get("labels", ()))
    for values in (NEW[name][2], CLASSIC[classic][2]):
        assert {series for series, _ in values} == {name + suffix}
        for _, labels in values:
            names = {label for label, _ in labels}
            assert names >= {row["label"]} if "label" in row else names <= THINGS | row_labels
            assert names >= row_labels


def test_only_table_metrics_are_served_and_formats_agree() -> None:
    assert {name.removeprefix(PREFIX) for name in NEW} == set(NAMES)
    assert len(NAMES) == len(set(NAMES))
    values = {
        series: value for _, _, by_series in NEW.values() for series, value in by_series.items()
    }
    assert values == {
        series: value for _, _, by_series in CLASSIC.values() for series, value in by_series.items()
    }


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_names_follow_the_conventions_of_prometheus(row: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row["name"])
    assert not row["name"].endswith(("_total", "_info", "_count", "_sum", "_bucket"))
    assert not {row.get("label"), *row.get("labels", ())} & {"type", "hostname", "instance", "job"}
    assert row["help"].endswith((".", ")."))


def test_selected_values_are_correct() -> None:
    assert value("gpu_temperature_celsius", uuid="GPU-0") == 34
    assert value("gpu_clock_hertz", uuid="GPU-1", clock="graphics") == 210e6
    assert value("gpu_clocks_event_active", uuid="GPU-1", reason="gpu_idle") == 1
    assert value("gpu_up", address=GPU) == 1
    assert value("gpu_xid_errors", address=GPU, xid="79") == 1
    assert value("gpu_xid_last_timestamp_seconds", address=GPU, xid="79") == samples.NOW - 60
    assert value("pcie_path_bandwidth_bytes_per_second", address=GPU) == pytest.approx(
        3.938e9, 1e-3
    )
    assert len(series("pcie_path_device")) == 6
    assert value("gpus_found", by="bus") == value("gpus_found", by="nvml") == 3
    assert value("driver_state", state="ok") == 1
    assert sum(series("driver_state").values()) == 1
    assert value("host_boot_time_seconds") == samples.NOW - 5000
    named = frozenset({("collective", "all_reduce"), ("backend", "nccl"), ("ranks", "3")})
    assert series("nccl_bus_bandwidth_bytes_per_second") == {named: 2.8e9}
    assert series("nccl_bus_bandwidth_expected_bytes_per_second") == {named: 3e9}
    assert value("verdict", check="gpu-temperature", subject=GPU, status="ok") == 1
    assert value("verdict", check="gpu-temperature", subject=GPU, status="critical") == 0
    (info,) = [labels for labels in series("gpu") if ("uuid", "GPU-0") in labels]
    assert {("address", GPU), ("index", "0"), ("name", "NVIDIA GeForce RTX 3090")} <= info


def test_unknown_value_has_no_series() -> None:
    unknown = {
        field.name: None
        for field in fields(GpuReading)
        if field.name not in ("uuid", "index", "address", "name")
    }
    reading = {GPU: {"reading": unknown}}
    families = content(parse_openmetrics, render(samples.make_sample({"gpus": reading}))[1])
    (info,) = [labels for labels in series("gpu", families) if ("uuid", "GPU-0") in labels]
    for name, (_, _, values) in families.items():
        if name != f"{PREFIX}gpu":
            assert not [
                series_name for series_name, labels in values if ("uuid", "GPU-0") in labels
            ], name
    assert {label for label, text in info if text} == {"uuid", "index", "address", "name"}
    assert value("gpu_up", families, address=GPU) == 1


def test_lost_gpu_has_no_nvml_series() -> None:
    changes = {
        "gpus": {GPU: {"reading": None, "problem": "lost", "read_duration_seconds": None}},
        "ports": {GPU: {"answers": False, "current_width": None, "current_speed": None}},
        "results": [{"backend": "gloo"}],
        "expectations": {"gpus": None},
        "host": {"boot_clock_seconds": None, "cpu_throttles": None},
    }
    families = content(parse_openmetrics, render(samples.make_sample(changes))[1])
    assert value("gpu_up", families, address=GPU) == 0
    assert value("gpu_read_timestamp_seconds", families, address=GPU) == samples.NOW
    assert value("gpu_read_duration_seconds", families, address=GPU) is None
    assert ("uuid", "GPU-0") not in {
        pair for _, _, values in families.values() for _, labels in values for pair in labels
    }
    assert value("pcie_device_answers", families, address=GPU) == 0
    assert value("pcie_link_width_lanes", families, address=GPU) is None
    assert value("pcie_path_width_lanes", families, address=GPU) is None
    assert value("pcie_path_bandwidth_bytes_per_second", families, address=GPU) is None
    assert value("pcie_path_expected_width_lanes", families, address=GPU) == 4
    assert value("gpus_found", families, by="nvml") == 2
    absent = (
        "gpus_expected",
        "host_boot_time_seconds",
        "host_cpu_throttles",
        "nccl_bus_bandwidth_expected_bytes_per_second",
    )
    assert [name for name in absent if series(name, families)] == []


def test_xids_of_a_removed_gpu_are_still_counted() -> None:
    gone = {"gpus": {GPU: None}, "results": [], "xids": [{"address": GPU, "xid": 79}]}
    families = content(parse_openmetrics, render(samples.make_sample(gone))[1])
    assert value("gpu_xid_errors", families, address=GPU, xid="79") == 1
    assert value("gpu_xid_last_timestamp_seconds", families, address=GPU, xid="79") is not None
    for name in ("gpu_up", "gpu_read_timestamp_seconds", "gpu_read_duration_seconds"):
        assert value(name, families, address=GPU) is None
        assert len(series(name, families)) == 2


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedSample]:
    """A sample of three simulated 3090s, through NVML and sysfs, with one result."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("rig")
    library = folder / "library"
    library.mkdir()
    rig = SimulatedRig(folder / "rig", build(library))
    state = folder / "state"
    (state / "nccl").mkdir(parents=True)
    assert EXAMPLE is not None
    (state / "nccl/x.json").write_text(json.dumps(json.loads(EXAMPLE[1])))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LD_LIBRARY_PATH", "DEEPRIG_LAB_HARDWARE"):
            patch.setenv(name, rig.environment[name])
        parsed = settings.parse_arguments(
            [
                "--path.sysfs",
                str(rig.sysfs),
                "--path.procfs",
                str(rig.procfs),
                "--path.state",
                str(state),
                "--path.kernel-log",
                str(folder / "no log"),
            ]
        )
        sampler = Sampler(parsed)
        try:
            until = time.monotonic() + 20
            published = sampler.take()
            while published.sample.driver.state != "ok" or not all(
                gpu.up for gpu in published.sample.gpus
            ):
                assert time.monotonic() < until, published.sample.driver
                published = sampler.take()
            yield published
        finally:
            sampler.close()


def test_three_cards_give_at_least_300_series(simulated: PublishedSample) -> None:
    old, new = encode_both(simulated.metrics)
    families = content(parse_openmetrics, new)
    assert sum(len(values) for _, _, values in families.values()) >= 300
    assert len(series("gpu_temperature_celsius", families)) == 3
    assert (
        value("gpu_temperature_celsius", families, uuid=simulated.sample.gpus[0].uuid or "") == 34
    )
    assert series("nccl_bus_bandwidth_bytes_per_second", families) != {}
    assert {name.removeprefix(PREFIX) for name in families} <= set(NAMES)
    classic = content(parse_classic, old)
    assert {
        series_key: value
        for _, _, values in classic.values()
        for series_key, value in values.items()
    } == {
        series_key: value
        for _, _, values in families.values()
        for series_key, value in values.items()
    }
