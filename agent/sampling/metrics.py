"""Turns a sample into metric families of prometheus_client, by the rows of tables/metrics.yml."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as Series

from agent.checks.judgements import STATUSES
from agent.checks.nccl import expect_bus_bandwidth
from agent.checks.sample import Sample
from agent.readings.nvml import DRIVER_STATES
from agent.readings.system import SystemState

PREFIX = "deeprig_"
SUFFIXES = {"counter": "_total", "info": "_info"}  # of the series, by the kind of their family
STATES = {current: {status: status == current for status in STATUSES} for current in STATUSES}


@dataclass(frozen=True)
class Subject:
    """What series are about: the labels that identify it, and the fields that hold the values."""

    labels: Mapping[str, str]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class MetricRow:
    """A row of tables/metrics.yml.

    field: the field with the value. label: names the key if the field holds a map.
    info_labels: the fields that an info metric has as labels.
    """

    name: str
    kind: str
    help: str
    field: str
    label: str
    info_labels: tuple[str, ...]

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> MetricRow:
        """Return the row that an entry of the table describes."""
        return cls(
            name=PREFIX + entry["name"],
            kind=entry.get("kind", "gauge"),
            help=entry["help"],
            field=entry.get("from", ""),
            label=entry.get("label", ""),
            info_labels=tuple(entry.get("labels", ())),
        )

    def build_family(self, subjects: Iterable[Subject]) -> Metric:
        """Return the family with one series for each value that is known."""
        family = Metric(self.name, self.help, self.kind)
        name = self.name + SUFFIXES.get(self.kind, "")
        family.samples = [
            Series(name, labels, value)
            for subject in subjects
            for labels, value in self._read_values(subject)
        ]
        return family

    def _read_values(self, subject: Subject) -> Iterator[tuple[dict[str, str], float]]:
        if self.kind == "info":
            texts = {name: as_label(subject.fields[name]) for name in self.info_labels}
            yield {**subject.labels, **texts}, 1
            return
        value = subject.fields[self.field]
        if value is None:
            return
        if not self.label:
            yield dict(subject.labels), value
            return
        for key, item in value.items():
            yield {**subject.labels, self.label: key}, item


class MetricTable:
    """All metrics, in the table's order. document: tables/metrics.yml as YAML gives it."""

    def __init__(self, document: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._groups = {
            group: [MetricRow.parse(entry) for entry in rows] for group, rows in document.items()
        }

    def build_families(self, sample: Sample) -> Iterator[Metric]:
        """Yield every family that has series."""
        subjects = find_subjects(sample)
        for group, rows in self._groups.items():
            for row in rows:
                family = row.build_family(subjects[group])
                if family.samples:
                    yield family


class SampleCollector(Collector):
    """The metrics of one sample, for the encoders of prometheus_client."""

    def __init__(self, table: MetricTable, sample: Sample) -> None:
        self._table = table
        self._sample = sample

    def collect(self) -> Iterator[Metric]:
        """Yield the sample's families."""
        return self._table.build_families(self._sample)


def find_subjects(sample: Sample) -> dict[str, list[Subject]]:
    """Return the subjects of each group of the table."""
    return {
        "gpu": [
            Subject({"uuid": gpu.reading.uuid}, vars(gpu.reading))
            for gpu in sample.gpus
            if gpu.reading
        ],
        "slot": list(find_slots(sample)),
        "port": [Subject({"address": port.address}, vars(port)) for port in sample.ports],
        "path": [
            Subject({"address": path.address}, {**vars(path), "bandwidth": path.bandwidth})
            for path in sample.paths
        ],
        "hop": [
            Subject({"address": path.address, "device": device}, {})
            for path in sample.paths
            for device in path.devices
        ],
        "verdict": [
            Subject(
                {"check": verdict.check, "subject": verdict.subject},
                {"statuses": STATES[verdict.status]},
            )
            for verdict in sample.verdicts
        ],
        "collective": list(find_collectives(sample)),
        "validation": [Subject({}, vars(sample.validation))] if sample.validation else [],
        "system": [Subject({}, read_system(sample.system))] if sample.system else [],
        "copy": list(find_copies(sample)),
        "rig": [Subject({}, read_rig(sample))],
        "host": [Subject({}, {**vars(sample.host), "booted_at": sample.booted_at})],
        "agent": [Subject({}, read_agent(sample))],
    }


def find_slots(sample: Sample) -> Iterator[Subject]:
    """Yield a subject for each GPU's place on the bus.

    A GPU that left the bus keeps its Xids: the Xid that explains why it left may have come after
    the last scrape that saw the GPU.
    """
    xids: dict[str, dict[str, int]] = {}
    times: dict[str, dict[str, float]] = {}
    for count in sample.xids:
        xids.setdefault(count.address, {})[str(count.xid)] = count.count
        if count.last_at is not None:
            times.setdefault(count.address, {})[str(count.xid)] = count.last_at
    on_bus = {gpu.address: gpu for gpu in sample.gpus}
    for address in (*on_bus, *sorted(xids.keys() - on_bus)):
        gpu = on_bus.get(address)
        yield Subject(
            {"address": address},
            {
                "up": gpu and gpu.up,
                "read_at": gpu and gpu.read_at,
                "read_duration_seconds": gpu and gpu.read_duration_seconds,
                "xids": xids.get(address, {}),
                "xid_times": times.get(address, {}),
            },
        )


def find_collectives(sample: Sample) -> Iterator[Subject]:
    """Yield a subject for each benchmark result."""
    for result in sample.nccl.results:
        bandwidth = expect_bus_bandwidth(result, sample)
        labels = {
            "collective": result.collective,
            "backend": result.backend,
            "ranks": str(result.ranks),
        }
        yield Subject(
            labels, {**vars(result), "expected_bus_bandwidth": bandwidth and bandwidth[0]}
        )


def find_copies(sample: Sample) -> Iterator[Subject]:
    """Yield a subject for each GPU whose copies the last validation measured."""
    by_gpu: dict[str, dict[str, float]] = {}
    measured = sample.validation.copies if sample.validation else {}
    for (address, direction), bandwidth in measured.items():
        by_gpu.setdefault(address, {})[direction] = bandwidth
    for address, directions in by_gpu.items():
        yield Subject({"address": address}, {"bandwidth": directions})


def read_rig(sample: Sample) -> dict[str, Any]:
    """Return the fields of the group rig."""
    return {
        **vars(sample.driver),
        "gpus_expected": sample.expectations.gpus,
        "gpus_found": {
            "bus": len(sample.paths),
            "nvml": sum(gpu.up for gpu in sample.gpus),
        },
        "driver_state": {state: state == sample.driver.state for state in DRIVER_STATES},
    }


def read_system(state: SystemState) -> dict[str, Any]:
    """Return the fields of the group system."""
    return {
        **vars(state),
        "has_driver": state.has_driver,
        "next_boot_works": state.next_boot_works,
        "unfinished_count": len(state.unfinished),
        "not_held_count": len(state.not_held),
    }


def read_agent(sample: Sample) -> dict[str, Any]:
    """Return the fields of the group agent."""
    return {
        **vars(sample.agent),
        "sampled_at": sample.taken_at,
        "result_files": {
            "read": sample.nccl.files_read,
            "ignored": len(sample.nccl.ignored),
        },
    }


def as_label(value: object) -> str:
    """Return a label's value: empty if it is unknown, which Prometheus treats as absent."""
    return "" if value is None else str(value)
