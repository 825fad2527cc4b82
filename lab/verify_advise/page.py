"""docs/advise-verified.md and its plot, of the cases that were measured."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.verify_advise.cases import Comparison, mean_error
from lab.verify_advise.predict import Calibration
from provision.advise import plot
from provision.output import charts

TITLES = {"ddp": "DDP", "fsdp": "FSDP", "pipeline": "pipeline", "tensor": "tensor", "moe": "MoE"}


def write(
    cases: Sequence[Comparison], calibration: Calibration, settings: Mapping[str, Any], folder: Path
) -> None:
    """The two files, in `folder`."""
    text = "\n".join([_head(cases, settings), *_calibration(calibration), *_table(cases), ""])
    (folder / "advise-verified.md").write_text(text, encoding="utf-8")
    plot.write([chart(cases)], folder / "advise-verified.svg")


def chart(cases: Sequence[Comparison]) -> Any:
    """Predicted against measured slowdown, a series for each workload, and where they are equal."""
    drawn = charts.chart_of(
        "XY",
        colours=charts.COLOURS[1:],  # as forms have them in the other plots
        title="Slowdown by messages: predicted against measured",
        x_title="measured (times the step without messages)",
        y_title="predicted",
        stroke=False,
    )
    for part, title in TITLES.items():
        matching = [case for case in cases if case.part == part]
        if matching:
            drawn.add(
                title,
                [
                    (case.slowdown, case.predicted.seconds / case.predicted.quiet)
                    for case in matching
                ],
            )
    most = max(max(case.slowdown, case.expected_slowdown) for case in cases)
    drawn.xrange = drawn.range = (1, most)
    drawn.add("equal", [(1, 1), (most, most)], stroke=True, show_dots=False)
    return drawn


def _head(cases: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    import torch

    times = [abs(case.error) for case in cases]
    sent = [abs(case.bytes_error) for case in cases]
    slow = [case.slowdown for case in cases]
    rates = " and ".join(map(str, settings["calibration"]["rates"]))
    promised = f"mean {settings['mean_within']:.0%}; worst 10 %, FSDP and MoE 15 %"
    bytes_promised = f"worst {settings['bytes_within']:.0%}"
    return f"""\
# The predictor, verified

`make verify-advise` wrote this page. Ranks of `agent.bench` ran in network namespaces whose links
were held to a rate, with layers that sleep instead of computing and real messages. The functions of
`provision/performance/` (`step_time.py`, `traffic.py`) that `fab advise` uses predicted each step.
Costs were calibrated at other rates ({rates} Mbit/s) and sizes than those that were predicted.

Backend gloo, PyTorch {torch.__version__}, Linux {platform.release()}. {len(cases)} cases, slowdowns
{min(slow):.2f} to {max(slow):.2f}.

| | mean | worst | promised |
|---|---|---|---|
| time of a step | {mean_error(cases):.1%} | {max(times):.1%} | {promised} |
| bytes on the wire | {statistics.fmean(sent):.1%} | {max(sent):.1%} | {bytes_promised} |

![Slowdown by messages: predicted against measured](advise-verified.svg)

What this shows: the bytes of the formulas are what crosses the wire, and their time line (which
message waits for which computation) is what happens in DDP, pipeline and tensor parallelism. FSDP
and MoE were predicted with every message waited for, as gloo has it: that NCCL gathers ahead (FSDP)
and reduces behind the experts (MoE), as `fab advise` counts, is not shown here, and neither are 3D
and sequence parallelism. What it does not show either: NCCL's own bandwidth
over PCIe, messages below 1 MiB, and computation that is slowed down by messages. Those come from a
rig's own benchmark.
"""


def _calibration(calibration: Calibration) -> list[str]:
    lines = [
        "## Calibration",
        "",
        "Share of the link that each collective reaches, and its latency; *volume* is what gloo",
        "moves for a byte that the collective has to (its reduce_scatter is an all-reduce).",
        "*both ways*: two ranks that send to each other at once; with gloo they mostly take turns.",
        "",
        "| collective | ranks | share | latency, ms | volume | fitted to |",
        "|---|---|---|---|---|---|",
    ]
    for (collective, ranks), line in sorted(calibration.lines.items()):
        lines.append(
            f"| {collective} | {ranks} | {line.bandwidth:.2f} | {line.latency * 1e3:.1f} | "
            f"{calibration.volume.get(collective, 1)} | {line.error:.0%} |"
        )
    return [*lines, ""]


def _table(cases: Sequence[Comparison]) -> list[str]:
    lines = [
        "## Cases",
        "",
        "*slowdown*: the measured step over one without messages. *MB*: sent by the busiest rank",
        "in a step, by its interface's counter; Ethernet, IP and TCP headers are in it.",
        "",
        "| workload | ranks | Mbit/s | measured, s | predicted | error | slowdown | MB | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in sorted(cases, key=lambda case: (list(TITLES).index(case.part), case.ranks)):
        lines.append(
            f"| {TITLES[case.part]} | {case.ranks} | {case.megabits:.0f} | {case.measured:.3f} | "
            f"{case.predicted.seconds:.3f} | {case.error:+.1%} | {case.slowdown:.2f} | "
            f"{case.measured_bytes / 1e6:.2f} | {case.bytes_error:+.1%} |"
        )
    return lines
