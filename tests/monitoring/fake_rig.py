"""A rig's metrics without a rig: every row of agent/tables/metrics.yml, with plausible values.

`python -m tests.monitoring.fake_rig 10390` serves one, to look at dashboards; `… 10390 ill` serves
one with what rigs suffer from. Counters go on while it runs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from tests.monitoring.fake_results import nccl_values, system_values, validation_values
from tests.monitoring.fake_series import (
    GB,
    GIB,
    Gpu,
    Series,
    Values,
    labelled_series,
    single_series,
)
from tests.monitoring.names import table

MODEL = "NVIDIA GeForce RTX 3090"
CHIPSET = ("0000:00:01.3", "0000:02:00.2")
SLOT = "0000:00:03.1"


@dataclass(frozen=True)
class FakeRig(Collector):
    """Three RTX 3090: a healthy rig, or one with a faulty riser and power supply."""

    ill: bool = False
    started: float = field(default_factory=time.time)

    def collect(self) -> Iterable[Metric]:
        values = self.values()
        for row in (row for rows in table().values() for row in rows):
            yield self._family(row["name"], row.get("kind", "gauge"), row["help"], values)

    def _family(self, name: str, kind: str, text: str, values: Values) -> Metric:
        series = values[name]
        label_names = list(series[0].labels) if series else []
        full = f"deeprig_{name}"
        if kind == "info":
            info = InfoMetricFamily(full, text, labels=[])
            for sample in series:
                info.add_metric([], dict(sample.labels))
            return info
        families = {"counter": CounterMetricFamily}
        family = families.get(kind, GaugeMetricFamily)(full, text, labels=label_names)
        for sample in series:
            grown = sample.value + sample.growth * (time.time() - self.started)
            family.add_metric([sample.labels[label] for label in label_names], grown)
        return family

    def values(self) -> Values:
        """Of every metric, by its name in the table."""
        values: Values = {}
        gpus = self._gpus()
        for part in (
            gpu_values(gpus, self.ill),
            slot_values(gpus, self.ill, self.started),
            port_values(gpus, self.ill),
            path_values(gpus),
            rig_values(gpus, self.ill),
            host_values(self.ill),
            nccl_values(self.ill, self.started),
            validation_values(gpus, self.ill, self.started),
            system_values(self.ill, self.started),
            agent_values(self.started),
        ):
            values |= part
        return values

    def _gpus(self) -> list[Gpu]:
        width, speed = (1, 5e9) if self.ill else (4, 8e9)
        return [
            Gpu(0, "0000:04:00.0", "0000:03:00.0", False, 1, 1, 2.5e9, 5e9),
            Gpu(1, "0000:06:00.0", "0000:03:04.0", True, 1, 1, 5e9, 5e9),
            Gpu(2, "0000:08:00.0", SLOT, True, width, 4, speed, 8e9),
        ]


def gpu_values(gpus: list[Gpu], ill: bool) -> Values:
    """Return what NVML reports for each GPU."""
    values: Values = {
        # GeForce: neither ECC nor row remapping nor the memory's temperature; opt-in: throughput.
        "gpu_memory_temperature_celsius": [],
        "gpu_ecc_errors": [],
        "gpu_remapped_rows": [],
        "gpu_row_remap_pending": [],
        "gpu_row_remap_failed": [],
        "gpu_pcie_throughput_bytes_per_second": [],
        "gpu_recovery_action": [],
    }
    for gpu in gpus:
        busy, hot = gpu.busy, ill and gpu.index == 2
        limit = 280.0
        now: dict[str, tuple[float, float]] = {
            "gpu_temperature_celsius": (91 if hot else 66 if busy else 34, 0),
            "gpu_power_watts": (limit - 1 if busy else 24, 0),
            "gpu_power_limit_watts": (limit, 0),
            "gpu_power_default_limit_watts": (350, 0),
            "gpu_energy_joules": (1e6, limit if busy else 24),
            "gpu_utilization_ratio": (0.99 if busy else 0, 0),
            "gpu_memory_utilization_ratio": (0.5 if busy else 0, 0),
            "gpu_memory_size_bytes": (24 * GIB, 0),
            "gpu_memory_used_bytes": ((23.6 if hot else 18 if busy else 0.001) * GIB, 0),
            "gpu_memory_free_bytes": ((0.1 if hot else 5.7 if busy else 23.7) * GIB, 0),
            "gpu_memory_reserved_bytes": (0.3 * GIB, 0),
            "gpu_bar1_size_bytes": (0.25 * GIB, 0),
            "gpu_bar1_used_bytes": (2 * 2**20, 0),
            "gpu_performance_state": (2 if busy else 8, 0),
            "gpu_persistence_mode": (1, 0),
            "gpu_pcie_width_lanes": (gpu.width, 0),
            "gpu_pcie_generation": ({2.5e9: 1, 5e9: 2, 8e9: 3}[gpu.speed], 0),
            "gpu_pcie_max_width_lanes": (gpu.expected_width, 0),
            "gpu_pcie_max_generation": (3, 0),
            "gpu_pcie_own_max_generation": (4, 0),
            "gpu_nvlinks_active": (0, 0),
            "gpu_pcie_replays": (0, 30.0 if hot else 0),
        }
        for name, (value, growth) in now.items():
            values.setdefault(name, []).extend(single_series(value, growth, uuid=gpu.uuid))
        clocks = {"graphics": 1.7e9, "sm": 1.7e9, "memory": 9.75e9, "video": 1.5e9}
        idle = {"graphics": 0.21e9, "sm": 0.21e9, "memory": 0.405e9, "video": 0.555e9}
        events = {
            "gpu_idle": not busy,
            "sw_power_cap": busy,
            "sw_thermal": hot,
            "hw_thermal": False,
            "hw_slowdown": hot,
            "hw_power_brake": hot,
        }
        peers = {other.address: 0.0 for other in gpus if other is not gpu}
        limits = {"shutdown": 98.0, "slowdown": 95.0, "max_operating": 93.0, "acoustic": 83.0}
        maps: dict[str, list[Series]] = {
            "gpu": single_series(
                1,
                uuid=gpu.uuid,
                index=str(gpu.index),
                address=gpu.address,
                name=MODEL,
                vbios_version="94.02.42.00.05",
            ),
            "gpu_temperature_limit_celsius": labelled_series("limit", limits, uuid=gpu.uuid),
            "gpu_clock_hertz": labelled_series("clock", clocks if busy else idle, uuid=gpu.uuid),
            "gpu_clock_max_hertz": labelled_series("clock", clocks, uuid=gpu.uuid),
            "gpu_fan_speed_ratio": labelled_series("fan", {"0": 0.6 if busy else 0}, uuid=gpu.uuid),
            "gpu_clocks_event_active": labelled_series("reason", events, uuid=gpu.uuid),
            "gpu_throttled_seconds": [
                *labelled_series(
                    "reason", {"sw_power_cap": 12.5}, 0.9 if busy else 0, uuid=gpu.uuid
                ),
                *labelled_series(
                    "reason", {"hw_power_brake": 0.0}, 0.1 if hot else 0, uuid=gpu.uuid
                ),
            ],
            "gpu_pcie_errors": labelled_series("error", {"bad_tlp": 0, "lcrc": 0}, uuid=gpu.uuid),
            "gpu_processes": labelled_series(
                "context", {"compute": busy, "graphics": 0}, uuid=gpu.uuid
            ),
            "gpu_pcie_bytes": labelled_series(
                "direction", {"transmit": 0, "receive": 0}, 1e6, uuid=gpu.uuid
            ),
            "gpu_peer_topology_level": labelled_series(
                "peer", dict.fromkeys(peers, 30.0), uuid=gpu.uuid
            ),
            "gpu_peer_access": labelled_series("peer", peers, uuid=gpu.uuid),
        }
        for name, series in maps.items():
            values.setdefault(name, []).extend(series)
    return values


def slot_values(gpus: list[Gpu], ill: bool, started: float) -> Values:
    """Return the values of each GPU by its address."""
    addresses = [gpu.address for gpu in gpus]
    xids = [Series({"address": a, "xid": x}, 0) for a in addresses for x in ("31", "45", "79")]
    times: list[Series] = []
    if ill:
        seen = {"address": addresses[2], "xid": "119"}
        xids.append(Series(seen, 1))
        times.append(Series(seen, started - 60))
    return {
        "gpu_up": [Series({"address": a}, 1) for a in addresses],
        "gpu_read_timestamp_seconds": [Series({"address": a}, started, 1) for a in addresses],
        "gpu_read_duration_seconds": [Series({"address": a}, 0.001) for a in addresses],
        "gpu_xid_errors": xids,
        "gpu_xid_last_timestamp_seconds": times,
    }


def port_values(gpus: list[Gpu], ill: bool) -> Values:
    """Every device between a GPU and its root port."""
    root, switch = CHIPSET
    ports = [(root, "root port", "", 4, 8e9), (switch, "upstream port", root, 4, 8e9)]
    ports += [(SLOT, "root port", "", gpus[2].width, gpus[2].speed)]
    for gpu in gpus:
        if gpu.parent != SLOT:
            ports.append((gpu.parent, "downstream port", switch, gpu.width, gpu.speed))
        ports.append((gpu.address, "endpoint", gpu.parent, gpu.width, gpu.speed))
    aer = [
        Series({"address": address, "severity": severity}, 0, growth)
        for address, *_ in ports
        for severity, growth in (
            ("correctable", 500 if ill and address == SLOT else 0),
            ("nonfatal", 0.5 if ill and address == SLOT else 0),
            ("fatal", 0),
        )
    ]
    changes = [Series({"address": a}, 0, 2 if ill and a == SLOT else 0) for a, *_ in ports]
    return {
        "pcie_device": [
            Series(
                {"address": a, "kind": kind, "parent": up, "vendor_id": "1022", "device_id": "1453"}
                if kind != "endpoint"
                else {"address": a, "kind": kind, "parent": up, "vendor_id": "10de"},
                1,
            )
            for a, kind, up, _, _ in ports
        ],
        "pcie_link_width_lanes": [Series({"address": a}, w) for a, _, _, w, _ in ports],
        "pcie_link_max_width_lanes": [Series({"address": a}, 16) for a, *_ in ports],
        "pcie_link_speed_transfers_per_second": [
            Series({"address": a}, speed) for a, _, _, _, speed in ports
        ],
        "pcie_link_max_speed_transfers_per_second": [
            Series({"address": a}, 16e9) for a, *_ in ports
        ],
        "pcie_link_changes": changes,
        "pcie_device_answers": [Series({"address": a}, 1) for a, *_ in ports],
        "pcie_aer_errors": aer,
    }


def way(gpu: Gpu) -> tuple[str, ...]:
    """The devices from a root port to a GPU."""
    return (*(() if gpu.parent == SLOT else CHIPSET), gpu.parent, gpu.address)


def path_values(gpus: list[Gpu]) -> Values:
    """The way from each GPU to its root port."""

    def by_address(get: Mapping[str, float]) -> list[Series]:
        return labelled_series("address", get)

    return {
        "pcie_path_width_lanes": by_address({g.address: g.width for g in gpus}),
        "pcie_path_max_width_lanes": by_address({g.address: g.expected_width for g in gpus}),
        "pcie_path_expected_width_lanes": by_address({g.address: g.expected_width for g in gpus}),
        "pcie_path_speed_transfers_per_second": by_address({g.address: g.speed for g in gpus}),
        "pcie_path_max_speed_transfers_per_second": by_address(
            {g.address: g.expected_speed for g in gpus}
        ),
        "pcie_path_expected_speed_transfers_per_second": by_address(
            {g.address: g.expected_speed for g in gpus}
        ),
        "pcie_path_bandwidth_bytes_per_second": by_address(
            {g.address: g.width * g.expected_speed / 10 for g in gpus}
        ),
        "pcie_path_loaded_speed_transfers_per_second": by_address(
            {g.address: g.speed for g in gpus if g.busy}
        ),
        "pcie_path_device": [
            Series({"address": g.address, "device": device}, 1) for g in gpus for device in way(g)
        ],
    }


def rig_values(gpus: list[Gpu], ill: bool) -> Values:
    """The driver, the number of GPUs, and verdicts."""
    verdicts = {
        ("driver", "rig"): "ok",
        ("gpu-count", "rig"): "critical" if ill else "ok",
        ("kernel-parameters", "rig"): "warning" if ill else "ok",
        ("pcie-speed", gpus[0].address): "unknown",
        ("pcie-width", gpus[2].address): "critical" if ill else "ok",
    }
    return {
        "gpus_expected": single_series(4 if ill else 3),
        "gpus_found": labelled_series("by", {"bus": 3, "nvml": 3}),
        "driver_state": labelled_series(
            "state", {"ok": 1, "missing": 0, "mismatch": 0, "unresponsive": 0}
        ),
        "driver": single_series(
            1,
            driver_version="580.95.05",
            nvml_version="13.580.95.05",
            cuda_version="13.0",
            module_version="580.95.05",
        ),
        "verdict": [
            Series({"check": check, "subject": subject, "status": status}, status == held)
            for (check, subject), held in verdicts.items()
            for status in ("ok", "warning", "critical", "unknown")
        ],
    }


def host_values(ill: bool) -> Values:
    """RAM, disk, CPU and kernel."""
    return {
        "host_memory_size_bytes": single_series(16 * GIB),
        "host_memory_available_bytes": single_series((0.5 if ill else 12) * GIB),
        "host_swap_size_bytes": single_series(8 * GIB),
        "host_swap_used_bytes": single_series((6 if ill else 0) * GIB),
        "host_disk_size_bytes": labelled_series(
            "folder", {"/": 118 * GB, "/var/lib/deeprig": 118 * GB}
        ),
        "host_disk_free_bytes": labelled_series(
            "folder",
            {"/": (4 if ill else 60) * GB, "/var/lib/deeprig": (4 if ill else 60) * GB},
            -0.1 * GB if ill else 0,
        ),
        "host_load1": single_series(0.4),
        "host_boot_time_seconds": single_series(time.time() - 86400),
        "host_cpu_throttles": single_series(0, 5 if ill else 0),
        "host_cpu_frequency_hertz": single_series(3.2e9),
        "host_cpu_max_frequency_hertz": single_series(3.6e9),
        "host_reboot_required": single_series(ill),
        "host_kernel_hazard": labelled_series("parameter", {"pci=noaer": ill, "iommu=soft": 0}),
    }


def agent_values(started: float) -> Values:
    """The agent about itself."""
    return {
        "agent": single_series(1, version="0.1.0"),
        "agent_start_time_seconds": single_series(started),
        "agent_sample_timestamp_seconds": single_series(started, 1),
        "agent_sample_interval_seconds": single_series(5),
        "agent_sample_duration_seconds": labelled_series(
            "part", {"pcie": 0.001, "nvml": 0.003, "host": 0.0004}
        ),
        "agent_samples": single_series(1, 0.2),
        "agent_reader_restarts": single_series(0),
        "agent_cpu_seconds": labelled_series("process", {"server": 12.1, "nvml": 8}, 0.002),
        "agent_resident_memory_bytes": labelled_series("process", {"server": 22e6, "nvml": 15e6}),
    }


def serve(port: int, ill: bool) -> int:
    """Serve a rig's metrics on 127.0.0.1 in a thread, until the process ends; gives the port."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FakeRig(ill=ill))
    server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    return server.server_port


if __name__ == "__main__":
    print(f"http://127.0.0.1:{serve(int(sys.argv[1]), 'ill' in sys.argv[2:])}/metrics")
    threading.Event().wait()
