"""From a sample to families of metrics, as tables/metrics.yml says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.checks.nccl import expected
from agent.checks.sample import STATUSES, Sample
from agent.readings.nvml import DRIVER_STATES
from agent.sampling.exposition import Family, Point, labels

PREFIX = "deeprig_"
NONE = ""
Thing = tuple[str, Mapping[str, Any]]  # its labels as text, and its fields


@dataclass(frozen=True)
class Row:
    """A row of tables/metrics.yml."""

    family: Family
    field: str
    labels: tuple[str, ...]

    def points(self, things: Sequence[Thing]) -> list[Point]:
        """This metric's series of all things of its group."""
        if self.family.kind == "info":
            return [(self._info(base, thing), "", 1) for base, thing in things]
        found: list[Point] = []
        for base, thing in things:
            value = thing[self.field]
            if value is None:
                continue
            if self.family.label:
                found += [(base, key, one) for key, one in value.items()]
            else:
                found.append((base, "", value))
        return found

    def _info(self, base: str, thing: Mapping[str, Any]) -> str:
        own = labels(**{name: text(thing[name]) for name in self.labels})
        return ",".join(part for part in (base, own) if part)


class Table:
    """All metrics, in the table's order. document: tables/metrics.yml as YAML gives it."""

    def __init__(self, document: Mapping[str, list[Mapping[str, Any]]]) -> None:
        self._groups = {name: [row(entry) for entry in rows] for name, rows in document.items()}

    def families(self, sample: Sample) -> list[tuple[Family, list[Point]]]:
        """Every family with its series."""
        found = things(sample)
        return [
            (one.family, one.points(found[group]))
            for group, rows in self._groups.items()
            for one in rows
        ]


def row(entry: Mapping[str, Any]) -> Row:
    """One row of the table."""
    family = Family(
        PREFIX + entry["name"], entry.get("kind", "gauge"), entry["help"], entry.get("label", "")
    )
    return Row(family, entry.get("from", ""), tuple(entry.get("labels", ())))


def things(sample: Sample) -> dict[str, list[Thing]]:
    """What each group of the table is of: labels that name the thing, and its fields."""
    return {
        "gpu": [(labels(uuid=gpu.reading.uuid), vars(gpu.reading))
                for gpu in sample.gpus if gpu.reading],
        "slot": list(slots(sample)),
        "port": [(labels(address=port.address), vars(port))
                 for port in sample.ports],
        "path": [(labels(address=path.address), {**vars(path), "bandwidth": path.bandwidth})
                 for path in sample.paths],
        "hop": [(labels(address=path.address, device=device), {})
                for path in sample.paths for device in path.devices],
        "verdict": [
            (labels(check=verdict.check, subject=verdict.subject),
             {"statuses": STATES[verdict.status]})
            for verdict in sample.verdicts
        ],
        "collective": list(collectives(sample)),
        "validation": [(NONE, vars(sample.validation))] if sample.validation else [],
        "copy": list(copies(sample)),
        "rig": [(NONE, rig(sample))],
        "host": [(NONE, {**vars(sample.host), "booted_at": sample.booted_at})],
        "agent": [(NONE, agent(sample))],
    }  # fmt: skip


STATES = {held: {status: status == held for status in STATUSES} for held in STATUSES}


def slots(sample: Sample) -> Iterator[Thing]:
    """Labels and fields of the group slot.

    A GPU that left the bus keeps its Xids: what made it leave may be in no scrape before.
    """
    xids: dict[str, dict[str, int]] = {}
    times: dict[str, dict[str, float]] = {}
    for count in sample.xids:
        xids.setdefault(count.address, {})[str(count.xid)] = count.count
        if count.last_at is not None:
            times.setdefault(count.address, {})[str(count.xid)] = count.last_at
    there = {gpu.address: gpu for gpu in sample.gpus}
    for address in (*there, *sorted(xids.keys() - there)):
        gpu = there.get(address)
        yield (
            labels(address=address),
            {
                "up": gpu and gpu.up,
                "read_at": gpu and gpu.read_at,
                "read_duration_seconds": gpu and gpu.read_duration_seconds,
                "xids": xids.get(address, {}),
                "xid_times": times.get(address, {}),
            },
        )


def rig(sample: Sample) -> dict[str, Any]:
    """Fields of the group rig."""
    return {
        **vars(sample.driver),
        "gpus_expected": sample.expectations.gpus,
        "gpus_found": {
            "bus": len(sample.paths),
            "nvml": sum(gpu.up for gpu in sample.gpus),
        },
        "driver_state": {state: state == sample.driver.state for state in DRIVER_STATES},
    }


def collectives(sample: Sample) -> Iterator[Thing]:
    """Labels and fields of the group collective."""
    for result in sample.nccl.results:
        wanted = expected(result, sample)
        named = labels(
            collective=result.collective, backend=result.backend, ranks=str(result.ranks)
        )
        yield named, {**vars(result), "expected_bus_bandwidth": wanted and wanted[0]}


def copies(sample: Sample) -> Iterator[Thing]:
    """Labels and fields of the group copy."""
    found: dict[str, dict[str, float]] = {}
    measured = sample.validation.copies if sample.validation else {}
    for (address, direction), bandwidth in measured.items():
        found.setdefault(address, {})[direction] = bandwidth
    for address, directions in found.items():
        yield labels(address=address), {"bandwidth": directions}


def agent(sample: Sample) -> dict[str, Any]:
    """Fields of the group agent."""
    return {
        **vars(sample.agent),
        "sampled_at": sample.taken_at,
        "result_files": {
            "read": sample.nccl.files_read,
            "ignored": len(sample.nccl.ignored),
        },
    }


def text(value: object) -> str:
    """A label's value: what is not known is empty, which Prometheus takes for absent."""
    return "" if value is None else str(value)
