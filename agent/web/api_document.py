"""A sample as the JSON document of /api/v1/rig; page/openapi.yaml describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent.checks.nccl import expect_bus_bandwidth
from agent.checks.sample import GpuState, Sample
from agent.checks.verdicts import find_worst_status
from agent.readings.nccl import CollectiveResult
from agent.readings.system import SystemState
from agent.readings.validation import Validation
from agent.readings.xid import XidCatalogue, XidCount

API_VERSION = "v1"


def build_document(sample: Sample, xids: XidCatalogue) -> dict[str, Any]:
    """Return everything of a sample, for programs and the status page."""
    host = asdict(sample.host)
    del host["boot_clock_seconds"], host["nouveau_loaded"]
    return {
        "api_version": API_VERSION,
        "sampled_at": sample.taken_at,
        "status": find_worst_status(sample.verdicts),
        "agent": asdict(sample.agent),
        "driver": asdict(sample.driver),
        "gpus": [describe_gpu(state) for state in sample.gpus],
        "pcie": {
            "devices": [asdict(port) for port in sample.ports],
            "paths": [{**asdict(path), "bandwidth": path.bandwidth} for path in sample.paths],
        },
        "xids": [describe_xid(count, xids) for count in sample.xids if count.count],
        "host": {**host, "booted_at": sample.booted_at},
        "nccl": {
            "results": [describe_result(result, sample) for result in sample.nccl.results],
            "ignored": [asdict(file) for file in sample.nccl.ignored],
        },
        "validation": describe_validation(sample.validation) if sample.validation else None,
        "system": describe_system(sample.system) if sample.system else None,
        "expectations": {
            "gpus": sample.expectations.gpus,
            "gpus_from": sample.expectations.gpus_from,
            "config_file": sample.expectations.config_file,
        },
        "verdicts": [asdict(verdict) for verdict in sample.verdicts],
    }


def describe_gpu(state: GpuState) -> dict[str, Any]:
    """Return one GPU, whether it answers or not."""
    return {**asdict(state), "up": state.up}


def describe_result(result: CollectiveResult, sample: Sample) -> dict[str, Any]:
    """Return a benchmark result with what is expected of it."""
    bandwidth, reason = expect_bus_bandwidth(result, sample) or (None, None)
    return {
        **asdict(result),
        "expected_bus_bandwidth": bandwidth,
        "expected_from": reason,
    }


def describe_validation(validation: Validation) -> dict[str, Any]:
    """Return the last validation; its copies as a list."""
    return {
        **asdict(validation),
        "copies": [
            {"gpu": gpu, "direction": direction, "bandwidth_bytes_per_second": bandwidth}
            for (gpu, direction), bandwidth in validation.copies.items()
        ],
    }


def describe_system(state: SystemState) -> dict[str, Any]:
    """Return what the next boot brings, and the state of packages."""
    return {**asdict(state), "next_boot_works": state.next_boot_works}


def describe_xid(count: XidCount, catalogue: XidCatalogue) -> dict[str, Any]:
    """Return an Xid with its meaning."""
    row = catalogue[count.xid]
    return {
        **asdict(count),
        "name": row.name,
        "status": row.status,
        "meaning": row.meaning,
        "advice": row.advice,
    }
