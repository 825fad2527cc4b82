"""Plots as SVG or HTML: how much slower fewer lanes are, one line a parallelism."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from provision.advise.report import WIDTHS, AdviceReport, ModelReport
from provision.errors import DeeprigError
from provision.output.charts import COLOURS, HEIGHT, WIDTH, chart_of, svg
from provision.performance.layout import FORMS
from provision.performance.precision import TASKS

SUFFIXES = (".svg", ".html")
TICKS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def check(name: str) -> None:
    """Before anything is read: whether a plot can be written there. Raises DeeprigError."""
    if not name:
        return
    if Path(name).suffix not in SUFFIXES:
        raise DeeprigError(
            f"--plot {name}: a plot is written as {' or '.join(SUFFIXES)}",
            advice="Name the file accordingly: --plot lanes.svg.",
        )
    if not Path(name).absolute().parent.is_dir():
        raise DeeprigError(f"--plot {name}: the folder does not exist")


def path_for(name: str, rig: str) -> Path:
    """Return where a rig's plot is written, beside those of the others."""
    path = Path(name)
    return path.with_name(f"{path.stem}-{rig}{path.suffix}") if rig else path


def plot_lanes(report: AdviceReport, path: Path) -> None:
    """Step time against x16 over the lanes of every GPU, on the rig's own generation of PCIe."""
    charts = []
    for model in report.models:
        for task in TASKS:
            series = slowdowns(model, task, report.generations[0])
            if series:
                title = f"{model.model.title or model.model.name}, {TASKS[task]}"
                charts.append(_lanes(title, report, series))
    if not charts:
        raise DeeprigError("nothing to plot: no model runs on several GPUs of this rig")
    write(charts, path)


def slowdowns(
    model: ModelReport, task: str, generation: int
) -> dict[tuple[str, bool], list[float]]:
    """Times slower than on x16 at each of WIDTHS, by (form, whether prompts are meant).

    Only of forms that use links.
    """
    result = {}
    for row in model.rows:
        candidate = row.candidate
        if candidate.task != task or row.now is None or candidate.layout.form == "single":
            continue
        for prompts in (False, True) if row.now.prefill else (False,):
            result[candidate.layout.form, prompts] = [
                1 / (1 - row.loss(generation, width, prompts)) for width in WIDTHS
            ]
    return result


def _lanes(
    title: str, report: AdviceReport, series: Mapping[tuple[str, bool], Sequence[float]]
) -> Any:
    """Return a form has the same colour in every chart; prompts are dashed."""
    order = list(FORMS)
    gpus = f"{len(report.rig.cards)} x {report.rig.cards[0].name}"
    chart = chart_of(
        "Line",
        title=f"{title} on {gpus}: lanes on PCIe Gen{report.generations[0]}",
        x_title="lanes of every GPU",
        y_title="times slower than x16",
        logarithmic=True,
        colours=[COLOURS[order.index(form)] for form, _ in series],
    )
    most = max(max(values) for values in series.values())
    chart.y_labels = [tick for tick in TICKS if tick <= most * 1.4][:9] or [1]
    chart.x_labels = [f"x{width}" for width in WIDTHS]
    for (form, prompts), values in series.items():
        name = f"{FORMS[form]}, prompts" if prompts else FORMS[form]
        dashed = {"stroke_style": {"dasharray": "6, 4"}} if prompts else {}
        chart.add(name, [round(value, 3) for value in values], **dashed)
    return chart


def write(charts: Sequence[Any], path: Path) -> None:
    """Charts below each other, in an SVG file or in a page."""
    drawn = [svg(chart) for chart in charts]
    if path.suffix == ".html":
        body = "\n".join(f"<figure>{chart}</figure>" for chart in drawn)
        text = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>deeprig: lanes</title>'
            f'<body style="max-width: 820px; margin: 2em auto">{body}</body></html>\n'
        )
    else:
        text = stack_charts(drawn)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DeeprigError(f"can't write {path}: {error}") from None


def stack_charts(drawn: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return one SVG of several below each other."""
    if len(drawn) == 1:
        return drawn[0] + "\n"
    parts = [
        re.sub(
            r"<svg ", f'<svg y="{at * height}" width="{width}" height="{height}" ', chart, count=1
        )
        for at, chart in enumerate(drawn)
    ]
    inner = "\n".join(parts)
    size = f'viewBox="0 0 {width} {height * len(drawn)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{inner}\n</svg>\n'
