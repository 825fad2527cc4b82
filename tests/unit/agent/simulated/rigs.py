"""A sampler over the lab's hardware, and results of benchmarks beside it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.configuration.settings import Settings, parse_arguments
from agent.sampling.sampler import Sampler
from lab.simulate.simulated_rig import SimulatedRig

FIRST, SECOND, THIRD = GPUS = ("0000:04:00.0", "0000:06:00.0", "0000:08:00.0")
DEADLINE_SECONDS = 10.0  # of NVML, in tests in which nothing hangs


def words(rig: SimulatedRig) -> list[str]:
    """Return the agent's flags for a rig, without files of this machine."""
    return [
        f"--path.sysfs={rig.sysfs}",
        f"--path.procfs={rig.procfs}",
        f"--path.rootfs={rig.folder}",
        f"--path.kernel-log={rig.folder}/kmsg",
        "--path.state=/state",
        f"--config.file={config(rig)}",
    ]


def config(rig: SimulatedRig, content: str = "gpus: 3\ngpus_from: inventory\n") -> Path:
    file = rig.folder / "agent.yml"
    if not file.exists():
        file.write_text(content)
    return file


def settings(rig: SimulatedRig, *more: str) -> Settings:
    """Return settings whose deadline may exceed the interval; the test takes the samples."""
    parsed = parse_arguments([*words(rig), *more])
    return replace(parsed, nvml_deadline=DEADLINE_SECONDS)


def sampler(rig: SimulatedRig, *more: str, **settings_: Any) -> Sampler:
    return Sampler(replace(settings(rig, *more), **settings_))


def result(rig: SimulatedRig, name: str = "run.json", **fields: Any) -> Path:
    """Write a benchmark's result; a field that is None is left out."""
    folder = rig.folder / "state/nccl"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [
        {"size_bytes": 8, "time_seconds": 4e-5, "bus_bandwidth_bytes_per_second": 2e5},
        {
            "size_bytes": 1 << 28,
            "time_seconds": 0.9,
            "wrong_values": 0,
            "bus_bandwidth_bytes_per_second": 3.1e8,
        },
    ]
    document = {
        "format": "deeprig-collectives",
        "version": 1,
        "backend": "nccl",
        "ranks": 3,
        "finished_at": 1_795_421_200.0,
        "gpus": list(GPUS),
        "nccl_version": "2.29.7",
        "collectives": [{"collective": "all_reduce", "sizes": sizes}],
    } | fields
    file = folder / name
    file.write_text(
        json.dumps({key: value for key, value in document.items() if value is not None})
    )
    return file


def validation(rig: SimulatedRig, **fields: Any) -> Path:
    """Write a validation's summary; a field that is None is left out."""
    folder = rig.folder / "state/validation"
    folder.mkdir(parents=True, exist_ok=True)
    copies = [
        {"gpu": FIRST, "direction": "host_to_device", "bandwidth_bytes_per_second": 3.2e8},
        {"gpu": FIRST, "direction": "device_to_host", "bandwidth_bytes_per_second": 3.3e8},
    ]
    document = {
        "format": "deeprig-validation-summary",
        "version": 1,
        "plan": "quick",
        "started_at": 1_795_421_200.0,
        "finished_at": 1_795_421_242.0,
        "counts": {"ok": 40, "warning": 1, "critical": 0, "unknown": 2},
        "failing": [],
        "copies": copies,
    } | fields
    file = folder / "summary.json"
    file.write_text(
        json.dumps({key: value for key, value in document.items() if value is not None})
    )
    return file


def system(rig: SimulatedRig) -> Path:
    """Write what root reads of kernels and packages."""
    document = {
        "format": "deeprig-system-state",
        "version": 1,
        "written_at": time.time(),
        "library_version": "580.95.05",
        "kernels": [
            {"release": "6.1.0-30-amd64", "default": False, "module_version": None},
            {"release": "6.1.0-31-amd64", "default": True, "module_version": "580.95.05"},
        ],
        "driver_packages": [
            {"name": "libcuda1", "branch": 580, "origin": "vendor", "held": True},
        ],
        "unfinished": [],
        "interrupted": False,
    }
    file = rig.folder / "state/system.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return file
