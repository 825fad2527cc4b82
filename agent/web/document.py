"""A sample as the document that /api/v1/rig gives; page/openapi.yaml describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent.checks import worst
from agent.checks.nccl import expected
from agent.checks.sample import GpuState, Sample
from agent.readings.validation import Validation
from agent.readings.xid import Catalogue, XidCount

API_VERSION = "v1"


def document(sample: Sample, xids: Catalogue) -> dict[str, Any]:
    """Everything of a sample, for programs and the status page."""
    host = asdict(sample.host)
    del host["boot_clock_seconds"], host["nouveau_loaded"]
    return {
        "api_version": API_VERSION,
        "sampled_at": sample.taken_at,
        "status": worst(sample.verdicts),
        "agent": asdict(sample.agent),
        "driver": asdict(sample.driver),
        "gpus": [gpu(state) for state in sample.gpus],
        "pcie": {
            "devices": [asdict(port) for port in sample.ports],
            "paths": [{**asdict(path), "bandwidth": path.bandwidth} for path in sample.paths],
        },
        "xids": [xid(count, xids) for count in sample.xids if count.count],
        "host": {**host, "booted_at": sample.booted_at},
        "nccl": {
            "results": [
                {
                    **asdict(result),
                    "expected_bus_bandwidth": wanted[0] if wanted else None,
                    "expected_from": wanted[1] if wanted else None,
                }
                for result in sample.nccl.results
                for wanted in [expected(result, sample)]
            ],
            "ignored": [asdict(file) for file in sample.nccl.ignored],
        },
        "validation": validation(sample.validation),
        "expectations": {
            "gpus": sample.expectations.gpus,
            "gpus_from": sample.expectations.gpus_from,
            "config_file": sample.expectations.config_file,
        },
        "verdicts": [asdict(verdict) for verdict in sample.verdicts],
    }


def validation(found: Validation | None) -> dict[str, Any] | None:
    """The last validation; null where there was none."""
    if found is None:
        return None
    return {
        **asdict(found),
        "copies": [
            {"gpu": gpu, "direction": direction, "bandwidth_bytes_per_second": bandwidth}
            for (gpu, direction), bandwidth in found.copies.items()
        ],
    }


def gpu(state: GpuState) -> dict[str, Any]:
    """One GPU, whether it answers or not."""
    return {**asdict(state), "up": state.up}


def xid(count: XidCount, catalogue: Catalogue) -> dict[str, Any]:
    """An Xid with what it means."""
    row = catalogue[count.xid]
    return {
        **asdict(count),
        "name": row.name,
        "status": row.status,
        "meaning": row.meaning,
        "advice": row.advice,
    }
