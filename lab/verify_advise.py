"""`make verify-advise`: what provision.advise predicts against what agent.bench measures.

Ranks run in network namespaces whose links are held to a rate; costs are calibrated at other rates
and sizes than those that are then predicted. The table and its plot go to docs/.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from lab import netns
from lab.errors import LabError
from lab.report import say, step
from lab.verify_advise_bench import Run, run
from lab.verify_advise_predict import Calibration, Predicted, moved, predict
from provision.performance import fit
from provision.performance.fit import Line

SETTINGS = Path(__file__).with_suffix(".yml")
DOCS = Path(__file__).parents[1] / "docs"
BOTH_WAYS = "both ways"  # of two ranks that send to each other at once: sendrecv in a ring of two
SPOILED = 0.08  # of a time: a median that is farther off was measured while the machine was busy
TURNS = 0.75  # of the link: less than that, and messages both ways take turns
FAST = 100_000.0  # Mbit/s: one rank has nobody to talk to


@dataclass(frozen=True)
class Case:
    """A workload, measured and predicted. Seconds of a step, bytes that the busiest rank sends."""

    part: str
    ranks: int
    megabits: float
    measured: float
    measured_bytes: float
    predicted: Predicted
    within: float

    @property
    def error(self) -> float:
        """Of the predicted time, relative."""
        return self.predicted.seconds / self.measured - 1

    @property
    def bytes_error(self) -> float:
        """Of the predicted bytes, relative."""
        return self.predicted.sent / self.measured_bytes - 1

    @property
    def slowdown(self) -> float:
        """Measured against the step without messages."""
        return self.measured / self.predicted.quiet

    @property
    def expected_slowdown(self) -> float:
        """The same, predicted."""
        return self.predicted.seconds / self.predicted.quiet


def load() -> Any:
    """What is measured: verify_advise.yml."""
    return yaml.safe_load(SETTINGS.read_text())


def calibrate(settings: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]]) -> Calibration:
    """Costs by collective and number of ranks, and each workload alone."""
    asked = settings["calibration"]
    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    pipeline = any(one["part"] == "pipeline" for one in workloads)
    for ranks in settings["ranks"]:
        for megabits in asked["rates"]:
            with step(f"calibration, {ranks} ranks at {megabits} Mbit/s", "20 s"):
                done = run(ranks, megabits, _calibrating(asked, ranks if pipeline else 0))
            for name, moved_bytes, seconds in _points(done, ranks, asked["volume"]):
                share = (max(moved_bytes - netns.BURST_BYTES, 0.0) / (megabits * 1e6 / 8), seconds)
                points.setdefault((name, ranks), []).append(share)
    lines: dict[tuple[str, int], Line] = {}
    for key, some in points.items():
        found, used = fitted(some)
        if found is None:
            raise LabError(f"{key[0]} of {key[1]} ranks: times do not grow with sizes.")
        lines[key] = found
        line = f"{found.bandwidth:.2f} of the link, {found.latency * 1e3:.1f} ms"
        of = f"{used} of {len(some)} points"
        say(f"  {key[0]:<15}{key[1]} ranks  {line}, fitted to {found.error:.0%} ({of})")
    with step("each workload on one rank", "20 s"):
        alone = run(1, FAST, [_job(one, settings) for one in workloads])
    times = {one["workload"]: one["step_seconds"] for one in alone.document["workloads"]}
    both = lines.get((BOTH_WAYS, 2))
    return Calibration(lines, asked["volume"], times, both is None or both.bandwidth > TURNS)


def fitted(points: Sequence[tuple[float, float]]) -> tuple[Line | None, int]:
    """The line through points, and of how many: without those that other load has spoiled.

    While the worst is off by more than SPOILED, and more than half are left, it is left out.
    """
    left = list(points)
    while True:
        line = fit.line(left)
        if line is None or line.error <= SPOILED or len(left) - 1 <= len(points) / 2:
            return line, len(left)
        without = [fit.line(left[:at] + left[at + 1 :]) for at in range(len(left))]
        errors = [one.error if one else math.inf for one in without]
        left.pop(errors.index(min(errors)))


def _calibrating(asked: Mapping[str, Any], piped: int) -> list[dict[str, Any]]:
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
    found = []
    for one in done.document["collectives"]:
        name = BOTH_WAYS if one["collective"] == "sendrecv" else one["collective"]
        found += [
            (name, moved(one["collective"], ranks, size["size_bytes"], volume.get(name, 1.0)),
             size["time_seconds"])
            for size in one["sizes"]
        ]  # fmt: skip
    for pair in done.document.get("pairs", ()):
        size = float(pair["size_bytes"])
        found.append(("sendrecv", size, size / pair["bandwidth_bytes_per_second"]))
    return found


def _job(workload: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in workload.items() if name != "within"}
    return {**options, "steps": settings["steps"], "warm_up": settings["warm_up"]}


def measure(
    settings: Mapping[str, Any], workloads: Sequence[Mapping[str, Any]], known: Calibration
) -> list[Case]:
    """Every workload on every number of ranks and rate."""
    cases = []
    for ranks in settings["ranks"]:
        for megabits in settings["rates"]:
            with step(f"{ranks} ranks at {megabits} Mbit/s", "30 s"):
                done = run(ranks, megabits, [_job(one, settings) for one in workloads])
            for number, (workload, found) in enumerate(
                zip(workloads, done.document["workloads"], strict=True)
            ):
                if not found["check"]["right"]:
                    raise LabError(f"{workload['part']} computed something wrong.")
                cases.append(
                    Case(
                        workload["part"], ranks, megabits,
                        found["step_seconds"], max(done.sent(number, settings["steps"])),
                        predict(workload, ranks, megabits, known), workload["within"],
                    )
                )  # fmt: skip
                say(f"  {row(cases[-1])}")
    return cases


def row(case: Case) -> str:
    """A case in a line of 78 columns."""
    return (
        f"{case.part:<9}{case.ranks} x {case.megabits:>4.0f} Mbit/s"
        f"{case.measured:>8.3f} s {case.predicted.seconds:>7.3f} s {case.error:>+7.1%}"
        f"{case.slowdown:>6.2f}x {case.measured_bytes / 1e6:>7.2f} MB {case.bytes_error:>+6.1%}"
    )


def broken(cases: Sequence[Case], settings: Mapping[str, Any]) -> list[str]:
    """What of the promises does not hold."""
    wrong = [
        f"{row(case)}: the time is promised within {case.within:.0%}"
        for case in cases
        if abs(case.error) > case.within
    ]
    wrong += [
        f"{row(case)}: bytes are promised within {settings['bytes_within']:.0%}"
        for case in cases
        if abs(case.bytes_error) > settings["bytes_within"]
    ]
    mean = mean_error(cases)
    if mean > settings["mean_within"]:
        wrong.append(f"the mean error is {mean:.1%}; promised: {settings['mean_within']:.0%}")
    return wrong


def mean_error(cases: Sequence[Case]) -> float:
    """The mean of the errors' sizes."""
    return statistics.fmean(abs(case.error) for case in cases)


def interrupted(number: int, frame: FrameType | None) -> None:
    """A signal that ends us ends us as Ctrl-C does: namespaces are removed on the way out."""
    raise KeyboardInterrupt


def main() -> int:
    """0 when all promises hold."""
    from lab import verify_advise_docs

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-docs", action="store_true", help="print only, write nothing")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    settings = load()
    workloads = settings["workloads"]
    try:
        busy = os.getloadavg()[0]
        if busy > 1:
            say(f"This machine is busy (load {busy:.1f}): times may be off.")
        known = calibrate(settings, workloads)
        cases = measure(settings, workloads, known)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; its namespaces are gone.", file=sys.stderr)
        return 130
    finally:
        netns.clear()
    wrong = broken(cases, settings)
    say(f"{len(cases)} cases, mean error {mean_error(cases):.1%}")
    for line in wrong:
        say(f"✗ {line}")
    if not asked.no_docs:
        verify_advise_docs.write(cases, known, settings, DOCS)
        say("docs/advise-verified.md and .svg are written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
