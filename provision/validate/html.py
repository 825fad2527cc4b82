"""A report as one HTML file that needs nothing else: to keep, to send, to open without internet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from provision.output.html import render_page
from provision.validate import plots
from provision.validate.baseline import MetricChange, describe_unjudged
from provision.validate.documents import ValidationReport

TEMPLATE = Path(__file__).parent / "report.html.j2"


def render(document: ValidationReport, changes: Sequence[MetricChange] | None = None) -> str:
    """Return the page. changes: against a baseline, None where there was none."""
    subjects = groupby(document["checks"], key=lambda check: check["check"].partition("::")[0])
    return render_page(
        TEMPLATE,
        report=document,
        started=time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(document["started_at"])),
        subjects=[(name, list(checks)) for name, checks in subjects],
        bad=[check for check in document["checks"] if check["status"] in ("critical", "warning")],
        figures=figures(document),
        changes=None
        if changes is None
        else [change for change in changes if change.direction != "same"],
        compared=len(changes or ()),
        unjudged=describe_unjudged(changes or ()),
    )


def figures(document: ValidationReport) -> list[tuple[str, str]]:
    """(title, SVG) of what was measured; empty where nothing was."""
    bench = document.get("bench")
    rows = {check["check"]: check["rows"] for check in document["checks"]}
    charts = []
    if bench and bench["collectives"]:
        limits = [row.get("minimum") for row in rows.get("load::collectives", [])]
        smallest = min((limit for limit in limits if limit), default=None)
        title = f"Collectives by {bench['backend']}, {bench['ranks']} ranks"
        charts.append((title, plots.collectives(bench, smallest)))
    for check, title, unit, scale in (
        ("load::transfers", "Copies between host and GPU", "GB/s", 1e9),
        ("load::peer", "Copies between GPUs", "GB/s", 1e9),
        ("load::gemm", "Matrix products", "TFLOPS", 1e12),
        ("load::workloads", "Parallel workloads", "steps a second", 1.0),
    ):
        measured = [row for row in rows.get(check, []) if row.get("value") is not None]
        if measured:
            charts.append((title, plots.bars(measured, unit, scale)))
    return charts
