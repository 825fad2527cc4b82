"""What the driver reports about itself and about a GPU. agent/nvml/ asks it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

DriverState = Literal["ok", "missing", "library", "mismatch", "unresponsive", "starting"]
DRIVER_STATES: tuple[DriverState, ...] = (
    "ok",
    "missing",
    "library",
    "mismatch",
    "unresponsive",
    "starting",
)
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class DriverReading:
    """The driver's state and the versions of its parts. detail: more about the state."""

    state: DriverState
    detail: str = ""
    driver_version: str | None = None
    nvml_version: str | None = None
    cuda_version: str | None = None
    module_version: str | None = None


@dataclass(frozen=True)
class GpuReading:
    """One GPU as NVML reports it. The names contain the units; None: not available.

    Ratios are 0 to 1. Maps are by clock domain, fan number, kind of error, and so on.
    peer_access: by the peer's PCIe address, whether the driver lets this GPU read its memory.
    peer_topology: what lies between the two: 0 one board, 10 a switch, 20 several, 30 a host
    bridge, 40 a NUMA node, 50 the whole system (nvmlGpuTopologyLevel_t).
    """

    uuid: str
    index: int
    address: str
    name: str
    vbios_version: str | None = None
    temperature_celsius: float | None = None
    memory_temperature_celsius: float | None = None
    temperature_limits_celsius: Numbers | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    power_default_limit_watts: float | None = None
    energy_joules: float | None = None
    utilization_ratio: float | None = None
    memory_utilization_ratio: float | None = None
    memory_size_bytes: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    bar1_size_bytes: int | None = None
    bar1_used_bytes: int | None = None
    clocks_hertz: Numbers | None = None
    max_clocks_hertz: Numbers | None = None
    performance_state: int | None = None
    fan_speed_ratio: Numbers | None = None
    persistence_mode: bool | None = None
    clocks_events: Mapping[str, bool] | None = None
    throttled_seconds: Numbers | None = None
    pcie_width: int | None = None
    pcie_generation: int | None = None
    pcie_max_width: int | None = None
    pcie_max_generation: int | None = None
    pcie_own_max_generation: int | None = None
    pcie_replays: int | None = None
    pcie_errors: Numbers | None = None
    pcie_bytes: Numbers | None = None
    pcie_throughput: Numbers | None = None
    ecc_errors: Numbers | None = None
    remapped_rows: Numbers | None = None
    row_remap_pending: bool | None = None
    row_remap_failed: bool | None = None
    recovery_action: int | None = None
    processes: Numbers | None = None
    nvlinks_active: int | None = None
    peer_access: Mapping[str, bool] | None = None
    peer_topology: Numbers | None = None


READING_FIELDS = frozenset(field.name for field in fields(GpuReading))
