"""Reports of validations, as the suite writes them."""

from __future__ import annotations

from typing import Any, cast

from provision.validate.documents import ValidationReport


def row(subject: str, value: float | None = None, **fields: Any) -> dict[str, Any]:
    """A row of a check; with a value, one of bandwidth in bytes per second."""
    content: dict[str, Any] = {"subject": subject, "reading": "3 GB/s", "expectation": "2 GB/s"}
    content["status"] = "ok"
    if value is not None:
        content |= {"value": value, "unit": "B/s"}
    return content | fields


def check(name: str, title: str, *rows: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A check of a report."""
    content = {
        "check": name,
        "title": title,
        "why": "Because.",
        "status": "ok",
        "seconds": 0.1,
        "message": "",
        "rows": list(rows),
    }
    return content | fields


def report(*checks: dict[str, Any], **fields: Any) -> ValidationReport:
    """A report of these checks."""
    statuses = [entry["status"] for entry in checks]
    counts = {name: statuses.count(name) for name in ("ok", "warning", "critical", "unknown")}
    document = {
        "format": "deeprig-validation",
        "version": 1,
        "host": "rig",
        "plan": "full",
        "started_at": 1_795_421_200.0,
        "finished_at": 1_795_421_242.0,
        "checks": list(checks),
        "counts": counts,
    }
    return cast(ValidationReport, document | fields)


def bench(**fields: Any) -> dict[str, Any]:
    """A benchmark document with one collective."""
    sizes = [
        {
            "size_bytes": size,
            "time_seconds": size / 3e9 + 2e-5,
            "wrong_values": 0,
            "bus_bandwidth_bytes_per_second": size / (size / 3e9 + 2e-5),
        }
        for size in (8, 4096, 1 << 20, 1 << 28)
    ]
    return {
        "backend": "nccl",
        "ranks": 3,
        "collectives": [{"collective": "all_reduce", "sizes": sizes}],
        "transfers": [
            {
                "gpu": "0000:04:00.0",
                "direction": "host_to_device",
                "pinned": True,
                "bandwidth_bytes_per_second": 3e9,
                "wrong_values": 0,
            },
            {
                "gpu": "0000:04:00.0",
                "direction": "host_to_device",
                "pinned": False,
                "bandwidth_bytes_per_second": 1e9,
                "wrong_values": 0,
            },
        ],
        "problems": [],
    } | fields
