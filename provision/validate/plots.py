"""The plots of a report, as SVG for HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence

from provision.boundary.documents import BenchReport
from provision.output import charts
from provision.validate.documents import ReportRow

BAR = 34  # height of a bar with its gap, in SVG's units
GOOD, BAD, LIMIT = "#009e73", "#d55e00", "#444444"
UNITS = ("B", "KiB", "MiB", "GiB")


def collectives(bench: BenchReport, minimum: float | None) -> str:
    """Bus bandwidth of each collective over its sizes; minimum (bytes/s): a dashed line."""
    chart = charts.chart_of(
        "XY",
        charts.COLOURS[1:],
        logarithmic=True,
        x_title="size",
        y_title="bus bandwidth, GB/s",
    )
    lines = {
        collective["collective"]: [
            (size["size_bytes"], size["bus_bandwidth_bytes_per_second"] / 1e9)
            for size in sorted(collective["sizes"], key=lambda size: size["size_bytes"])
            if size["bus_bandwidth_bytes_per_second"] > 0
        ]
        for collective in bench["collectives"]
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    least, most = min(size for size, _ in points), max(size for size, _ in points)
    places = range(int(math.log2(least)), math.ceil(math.log2(most)) + 1, 3)
    chart.x_labels = [{"value": 2**place, "label": in_words(2**place)} for place in places]
    rates = [rate for _, rate in points]
    decades = range(math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates))) + 1)
    chart.y_labels = [{"value": 10.0**place, "label": f"{10.0**place:g}"} for place in decades]
    for name, line in lines.items():
        chart.add(name, line)
    if minimum:
        limit = [(least, minimum / 1e9), (most, minimum / 1e9)]
        chart.add("at least", limit, stroke_style={"dasharray": "6, 4"}, show_dots=False)
    return charts.svg(chart)


def bars(rows: Sequence[ReportRow], unit: str, scale: float) -> str:
    """Return a chart with a bar for each row that has a value, and its minimum below."""
    limits = [row["minimum"] / scale if row.get("minimum") else None for row in rows]
    chart = charts.chart_of(
        "HorizontalBar",
        (GOOD, LIMIT),
        x_title=unit,
        show_legend=any(limits),
        height=90 + BAR * len(rows) * (2 if any(limits) else 1),
        legend_at_bottom=True,
    )
    shown = [*zip(rows, limits, strict=True)][::-1]  # pygal's first is at the bottom
    chart.x_labels = [row["subject"] for row, _ in shown]
    chart.add(
        "measured",
        [
            {"value": row["value"] / scale, "color": GOOD if row["status"] == "ok" else BAD}
            for row, _ in shown
        ],
    )
    if any(limits):
        chart.add("at least", [limit for _, limit in shown])
    return charts.svg(chart)


def in_words(size: float) -> str:
    """Return a size in bytes for people.

    >>> in_words(8), in_words(2**19)
    ('8 B', '512 KiB')
    """
    step = min(int(math.log2(size)) // 10, len(UNITS) - 1) if size >= 1 else 0
    return f"{size / 1024**step:g} {UNITS[step]}"
