"""Calibrate costs, and measure every workload on every number of ranks and rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import LabError
from lab.report import say, step
from lab.verify_advise import netns
from lab.verify_advise.cases import Comparison, row
from lab.verify_advise.predict import Calibration, count_moved_bytes, predict
from lab.verify_advise.runs import Run, run
from provision.performance import fit
from provision.performance.fit import Line

BOTH_WAYS = "both ways"  # of two ranks that send to each other at once: sendrecv in a ring of two
SPOILED = 0.08  # of a time: a median that is farther off was measured while the machine was busy
TURNS = 0.75  # of the link: less than that, and messages both ways take turns
FAST = 100_000.0  # Mbit/s, for one rank, which sends nothing


def calibrate(settings: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]]) -> Calibration:
    """Costs by collective and number of ranks, and each workload alone."""
    asked = settings["calibration"]
    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    pipeline = any(workload["part"] == "pipeline" for workload in workloads)
    for ranks in settings["ranks"]:
        for megabits in asked["rates"]:
            with step(f"calibration, {ranks} ranks at {megabits} Mbit/s", "20 s"):
                done = run(ranks, megabits, _build_calibration(asked, ranks if pipeline else 0))
            for name, moved_bytes, seconds in _points(done, ranks, asked["volume"]):
                share = (max(moved_bytes - netns.BURST_BYTES, 0.0) / (megabits * 1e6 / 8), seconds)
                points.setdefault((name, ranks), []).append(share)
    lines: dict[tuple[str, int], Line] = {}
    for key, some in points.items():
        line, used = fit_line(some)
        if line is None:
            raise LabError(f"{key[0]} of {key[1]} ranks: times do not grow with sizes.")
        lines[key] = line
        text = f"{line.bandwidth:.2f} of the link, {line.latency * 1e3:.1f} ms"
        share_used = f"{used} of {len(some)} points"
        say(f"  {key[0]:<15}{key[1]} ranks  {text}, fitted to {line.error:.0%} ({share_used})")
    with step("each workload on one rank", "20 s"):
        alone = run(1, FAST, [_job(workload, settings) for workload in workloads])
    times = {
        workload["workload"]: workload["step_seconds"] for workload in alone.document["workloads"]
    }
    both = lines.get((BOTH_WAYS, 2))
    return Calibration(lines, asked["volume"], times, both is None or both.bandwidth > TURNS)


def fit_line(points: Sequence[tuple[float, float]]) -> tuple[Line | None, int]:
    """The line through points, and of how many: without those that other load has spoiled.

    While the worst is off by more than SPOILED, and more than half are left, it is left out.
    """
    left = list(points)
    while True:
        line = fit.line(left)
        if line is None or line.error <= SPOILED or len(left) - 1 <= len(points) / 2:
            return line, len(left)
        without = [fit.line(left[:at] + left[at + 1 :]) for at in range(len(left))]
        errors = [rest.error if rest else math.inf for rest in without]
        left.pop(errors.index(min(errors)))


def _build_calibration(asked: Mapping[str, Any], piped: int) -> list[dict[str, Any]]:
    """Parts of a calibrating job; `piped`: ranks of a pipeline, 0 where none is predicted."""
    sizes = asked["sizes_bytes"]
    how = {"repeats": asked["repeats"], "warm_up": 1, "iterations": 1}
    names = [*asked["collectives"], *(["sendrecv"] if piped == 2 else [])]
    parts: list[dict[str, Any]] = [
        {"part": "collectives", "collectives": names, "sizes_bytes": sizes, **how}
    ]
    if piped:
        parts.append({"part": "pairs", "sizes_bytes": [min(sizes), sizes[-2]], **how})
    return parts


def _points(done: Run, ranks: int, volume: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """(collective, bytes that a rank sends, seconds)."""
    points = []
    for collective in done.document["collectives"]:
        name = BOTH_WAYS if collective["collective"] == "sendrecv" else collective["collective"]
        points += [
            (
                name,
                count_moved_bytes(
                    collective["collective"], ranks, size["size_bytes"], volume.get(name, 1.0)
                ),
                size["time_seconds"],
            )
            for size in collective["sizes"]
        ]
    for pair in done.document.get("pairs", ()):
        size = float(pair["size_bytes"])
        points.append(("sendrecv", size, size / pair["bandwidth_bytes_per_second"]))
    return points


def _job(workload: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in workload.items() if name != "within"}
    return {**options, "steps": settings["steps"], "warm_up": settings["warm_up"]}


def measure(
    settings: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]], calibration: Calibration
) -> list[Comparison]:
    """Every workload on every number of ranks and rate."""
    cases = []
    for ranks in settings["ranks"]:
        for megabits in settings["rates"]:
            with step(f"{ranks} ranks at {megabits} Mbit/s", "30 s"):
                done = run(ranks, megabits, [_job(workload, settings) for workload in workloads])
            for number, (workload, result) in enumerate(
                zip(workloads, done.document["workloads"], strict=True)
            ):
                if not result["check"]["right"]:
                    raise LabError(f"{workload['part']} computed something wrong.")
                cases.append(
                    Comparison(
                        workload["part"],
                        ranks,
                        megabits,
                        result["step_seconds"],
                        max(done.mean_sent_bytes(number, settings["steps"])),
                        predict(workload, ranks, megabits, calibration),
                        workload["within"],
                    )
                )
                say(f"  {row(cases[-1])}")
    return cases
