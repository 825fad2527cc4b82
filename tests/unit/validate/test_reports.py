"""Reports: table, page, plots, summary."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from agent.readings.validation import parse
from provision.validate import baseline, html, show
from provision.validate.documents import ValidationReport
from tests.rig.proof import Row
from tests.rig.summary import summary
from tests.unit.validate.reports import bench, check, report, row


@pytest.fixture
def full() -> ValidationReport:
    return report(
        check("gpus::on_the_bus", "GPUs on the PCIe bus", row("rig", reading="3 GPUs")),
        check(
            "links::path_width",
            "PCIe path width",
            row(
                "0000:08:00.0",
                reading="x1",
                expectation="x4 (board data)",
                status="critical",
                advice="Riser <first>.",
            ),
            row("0000:04:00.0"),
            row("0000:06:00.0"),
            status="critical",
        ),
        check(
            "load::collectives",
            "Collectives",
            row("all_reduce nccl", 2.9e9, minimum=2.1e9, repeats=[2.9e9]),
        ),
        check(
            "load::transfers",
            "Copies between host and GPU",
            row("0000:04:00.0 host to device", 1e9, minimum=2e9, status="critical"),
            status="critical",
        ),
        check("load::peer", "Copies between GPUs", status="unknown", message="one GPU"),
        bench=bench(
            problems=[
                {
                    "part": "collectives",
                    "kind": "hang",
                    "message": "rank 1 hangs",
                    "advice": "Look.",
                    "ranks": {"1": {"state": "T (stopped)", "stack": 'File "x.py", line 3'}},
                }
            ]
        ),
    )


def render_report(document: ValidationReport, width: int = 80, verbose: bool = False) -> str:
    stream = io.StringIO()
    show.table(document, Console(file=stream, width=width, highlight=False), verbose)
    return stream.getvalue()


def test_table_shows_failed_checks_with_advice(full: ValidationReport) -> None:
    text = render_report(full)
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    assert "critical PCIe path width 0000:08:00.0: x1, expected x4 (board data)" in flat
    assert "Riser <first>." in flat
    assert "unknown Copies between GPUs one GPU" in flat
    assert "ok GPUs on the PCIe bus 3 GPUs" in flat
    assert "0000:06:00.0" not in flat
    assert "0000:06:00.0: 3 GB/s, expected 2 GB/s" in " ".join(
        render_report(full, 100, True).split()
    )


def test_page_loads_nothing_from_other_files(full: ValidationReport) -> None:
    page = html.render(full)
    # Namespaces are names, not addresses that are asked.
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", page)
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\((?!#)|<script|https?://", without_names)
    assert "Riser &lt;first&gt;." in page
    assert "rank 1 hangs" in page
    assert "File &#34;x.py&#34;, line 3" in page


def test_page_has_a_plot_for_each_measurement(full: ValidationReport) -> None:
    titles = [title for title, _ in html.figures(full)]
    assert titles == ["Collectives by nccl, 3 ranks", "Copies between host and GPU"]
    for _, svg in html.figures(full):
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    (_, curve), (_, bars) = html.figures(full)
    assert "all_reduce" in curve
    assert "at least" in curve
    assert "0000:04:00.0 host to device" in bars


def test_page_without_benchmarks_has_no_plots() -> None:
    document = report(check("host::swap", "Swap"), bench=None)
    assert html.figures(document) == []
    assert "Swap" in html.render(document)


def test_page_shows_the_comparison_with_the_baseline(full: ValidationReport) -> None:
    worse = report(
        check("load::collectives", "Collectives", row("all_reduce nccl", 9e9, repeats=[9e9, 9.1e9]))
    )
    assert "9 GB/s -&gt; 2.9 GB/s" in html.render(full, baseline.compare([worse], full))
    page = html.render(full, baseline.compare([full], full))
    assert "No difference beyond noise" in page
    assert "Of 2 values neither report has single runs" in page


def test_agent_can_read_the_summary(full: ValidationReport) -> None:
    parsed = parse(summary(full))
    assert parsed.failing == ("PCIe path width", "Copies between host and GPU")
    assert parsed.counts == {"ok": 2, "warning": 0, "critical": 2, "unknown": 1}
    assert parsed.copies == {("0000:04:00.0", "host_to_device"): 3e9}
    assert parsed.duration_seconds == 42


def test_last_line_shows_the_counts(full: ValidationReport) -> None:
    line = show.summary(full, "log/x.html").plain
    assert line == "rig: 2 ok, 2 critical, 1 unknown in 42 s; log/x.html"


def test_checks_not_run_on_a_lost_rig_are_one_line() -> None:
    untried = [
        check(f"x::{name}", f"Check {name}", status="unknown", message="lost before this check")
        for name in "abc"
    ]
    alone = check("x::d", "Check d", status="unknown", message="one GPU")
    lost = report(alone, *untried, incomplete="the rig was lost after 1 of 4 checks")
    text = " ".join(render_report(lost).split())
    assert text == "rig unknown Check d one GPU unknown 3 checks lost before this check"
    assert "; the rig was lost after 1 of 4 checks in 42 s" in show.summary(lost, "x").plain
    assert "Incomplete: the rig was lost after 1 of 4 checks." in html.render(lost)


def test_row_with_an_empty_reading_keeps_its_keys() -> None:
    row_document = Row("persistence", "", "on", status="unknown").document()
    assert row_document == {
        "subject": "persistence",
        "reading": "",
        "expectation": "on",
        "status": "unknown",
    }
