"""A healthy rig as a sample, and the same rig with changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from functools import cache
from typing import Any

from agent import tables
from agent.checks.context import CheckContext, CheckTable
from agent.checks.sample import AgentReading, GpuState, Sample
from agent.configuration.expectations import Expectations
from agent.readings import pcie
from agent.readings.host import HAZARDS, HostReading
from agent.readings.links import PortReading, build_path
from agent.readings.nccl import CollectiveResult, CollectiveResults, IgnoredFile
from agent.readings.nvml import DriverReading, GpuReading
from agent.readings.system import SystemState
from agent.readings.validation import Validation
from agent.readings.xid import XidCatalogue, XidCount

NOW = 1_772_366_400.0
HOUR = 3600.0
WAYS = {  # GPU -> its root port
    "0000:04:00.0": "0000:00:1c.0",
    "0000:06:00.0": "0000:00:1c.4",
    "0000:08:00.0": "0000:00:1d.0",
}
CLOCKS_EVENTS = (
    "gpu_idle",
    "sw_power_cap",
    "hw_slowdown",
    "sw_thermal",
    "hw_thermal",
    "hw_power_brake",
)


@cache
def table(name: str) -> Any:
    """A table of the agent, read once."""
    return tables.load(name)


def make_reading(index: int, address: str) -> GpuReading:
    """A 3090 at idle, limited to 280 W on purpose."""
    return GpuReading(
        uuid=f"GPU-{index}",
        index=index,
        address=address,
        name="NVIDIA GeForce RTX 3090",
        vbios_version="94.02.42.00.B4",
        temperature_celsius=34.0,
        temperature_limits_celsius={"shutdown": 98, "slowdown": 95, "max_operating": 93},
        power_watts=21.0,
        power_limit_watts=280.0,
        power_default_limit_watts=350.0,
        energy_joules=1000.5,
        memory_size_bytes=24 << 30,
        memory_used_bytes=1 << 30,
        memory_free_bytes=23 << 30,
        clocks_hertz={"graphics": 210e6, "memory": 405e6},
        max_clocks_hertz={"graphics": 2100e6, "memory": 9751e6},
        performance_state=8,
        persistence_mode=True,
        clocks_events={name: name == "gpu_idle" for name in CLOCKS_EVENTS},
        pcie_replays=0,
    )


def make_ports() -> dict[str, PortReading]:
    """Root ports and GPUs: x4 risers, 8 GT/s of both ends, 2.5 at idle."""
    readings = {}
    for gpu, root in WAYS.items():
        common = {
            "current_width": 4,
            "current_speed": 2.5e9,
            "answers": True,
            "aer": {"correctable": 0, "nonfatal": 0, "fatal": 0},
        }
        readings[root] = PortReading(
            address=root,
            kind="root port",
            parent="",
            vendor_id="1022",
            device_id="1453",
            max_width=4,
            max_speed=8e9,
            **common,  # type: ignore[arg-type]
        )
        readings[gpu] = PortReading(
            address=gpu,
            kind="endpoint",
            parent=root,
            vendor_id="10de",
            device_id="2204",
            max_width=16,
            max_speed=16e9,
            **common,  # type: ignore[arg-type]
        )
    return readings


RESULT = CollectiveResult(
    file="x.json",
    collective="all_reduce",
    backend="nccl",
    ranks=3,
    finished_at=NOW - HOUR,
    size_bytes=256 << 20,
    bus_bandwidth=2.8e9,
    latency_seconds=4e-5,
    wrong_values=0,
    gpus=tuple(WAYS),
)


VALIDATION = Validation(
    plan="quick",
    finished_at=NOW - HOUR,
    duration_seconds=42.0,
    counts={"ok": 40, "warning": 1, "critical": 0, "unknown": 2},
    failing=(),
    copies={("0000:04:00.0", "host_to_device"): 3.2e9, ("0000:04:00.0", "device_to_host"): 3.3e9},
)


SYSTEM = SystemState(
    written_at=NOW - 300,
    next_kernel="6.1.0-31-amd64",
    kernels={"6.1.0-30-amd64": "580.95.05", "6.1.0-31-amd64": "580.95.05"},
    driver_version="580.95.05",
    branches={"580": 30},
    origins={"vendor": 30},
    not_held=(),
    unfinished=(),
    interrupted=False,
)


def apply_changes(value: Any, changes: Mapping[str, Any]) -> Any:
    """Return a dataclass or map with nested changes. An unknown field is a TypeError."""
    fields = vars(value) if is_dataclass(value) else value
    new = {
        key: apply_changes(fields[key], change)
        if isinstance(change, Mapping) and isinstance(fields.get(key), object) and fields.get(key)
        else change
        for key, change in changes.items()
    }
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **new)
    return {**value, **new}


def change_items(present: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map by address with changes; None removes an item."""
    assert set(changes) <= set(present), "changes of what is not there"
    merged = {
        key: apply_changes(item, changes.get(key) or {})
        for key, item in present.items()
        if changes.get(key, {}) is not None
    }
    return merged


def make_sample(changes: Mapping[str, Any] | None = None) -> Sample:
    """The healthy rig with changes: maps by the sample's fields.

    gpus, ports and paths are by address; a path's width and speed follow from its ports. xids is
    a list of {address, xid, count, ago in seconds}, results of changes to RESULT, ignored of
    {file, reason}.
    """
    given = dict(changes or {})
    gone = [gpu for gpu, change in given.get("gpus", {}).items() if change is None]
    ways = {gpu: root for gpu, root in WAYS.items() if gpu not in gone}
    thresholds = {**table("thresholds"), **given.pop("thresholds", {})}
    expectations = apply_changes(
        Expectations(
            3,
            "inventory",
            4,
            "board data: x4 risers",
            power_limits={"2204": 280},
            thresholds=thresholds,
        ),
        given.pop("expectations", {}),
    )
    port_readings = change_items(make_ports(), given.pop("ports", {}))
    paths = {}
    for gpu, root in ways.items():
        way = tuple(pcie.PciePort(address, "", "", "", pcie.PcieLink()) for address in (root, gpu))
        path = build_path(
            pcie.PcieGpu(gpu, "10de", "2204", "", "", "", None, None, way), port_readings
        )
        paths[gpu] = expectations.add_to(replace(path, loaded_speed=8e9, loaded_at=NOW - HOUR))
    states = {
        gpu: GpuState(
            gpu,
            index,
            f"GPU-{index}",
            "NVIDIA GeForce RTX 3090",
            make_reading(index, gpu),
            read_at=NOW,
            read_duration_seconds=0.004,
        )
        for index, gpu in enumerate(WAYS)
    }
    xids = [
        XidCount(row["address"], row["xid"], row.get("count", 1), NOW - row.get("ago", 60))
        for row in given.pop("xids", [])
    ]
    ignored = tuple(IgnoredFile(**row) for row in given.pop("ignored", []))
    results = tuple(apply_changes(RESULT, row) for row in given.pop("results", [{}]))
    sample = Sample(
        taken_at=NOW,
        driver=DriverReading("ok", driver_version="580.95.05", cuda_version="13.0"),
        gpus=tuple(change_items(states, given.pop("gpus", {})).values()),
        ports=tuple(port_readings.values()),
        paths=tuple(change_items(paths, given.pop("paths", {})).values()),
        xids=tuple(xids),
        host=HostReading(
            name="rig",
            boot_clock_seconds=5000.0,
            memory_size_bytes=16 << 30,
            memory_available_bytes=12 << 30,
            swap_size_bytes=0,
            swap_used_bytes=0,
            disk_size_bytes={"/": 100 << 30, "/var/lib/deeprig": 100 << 30},
            disk_free_bytes={"/": 60 << 30, "/var/lib/deeprig": 60 << 30},
            cpu_throttles=0,
            kernel_hazards=dict.fromkeys(HAZARDS, False),
        ),
        nccl=CollectiveResults(results, ignored, len(results)),
        agent=AgentReading(
            "0.1.0",
            NOW - HOUR,
            1.0,
            3600,
            0,
            {"pcie": 0.001},
            {"server": 2.5},
            {"server": 30 << 20},
        ),
        expectations=expectations,
        validation=VALIDATION,
        system=SYSTEM,
    )
    result: Sample = apply_changes(sample, given)
    return result


def context(
    sample: Sample,
    increases: Mapping[str, float] | None = None,
    clock_jump: float | None = None,
    checks: CheckTable | None = None,
) -> CheckContext:
    """Return the input of the checks; increases by the words of their key."""
    return CheckContext(
        sample,
        {tuple(key.split()): grown for key, grown in (increases or {}).items()},
        checks or CheckTable(table("checks")),
        XidCatalogue(table("xids")),
        clock_jump,
    )
