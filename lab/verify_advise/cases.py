"""A workload, measured and predicted, and what the prediction promises."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.verify_advise.predict import PredictedStep

SETTINGS = Path(__file__).with_suffix(".yml")


@dataclass(frozen=True)
class Comparison:
    """A workload, measured and predicted. Seconds of a step, bytes that the busiest rank sends."""

    part: str
    ranks: int
    megabits: float
    measured: float
    measured_bytes: float
    predicted: PredictedStep
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
    """What is measured: cases.yml."""
    return yaml.safe_load(SETTINGS.read_text())


def row(case: Comparison) -> str:
    """A case in a line of 78 columns."""
    return (
        f"{case.part:<9}{case.ranks} x {case.megabits:>4.0f} Mbit/s"
        f"{case.measured:>8.3f} s {case.predicted.seconds:>7.3f} s {case.error:>+7.1%}"
        f"{case.slowdown:>6.2f}x {case.measured_bytes / 1e6:>7.2f} MB {case.bytes_error:>+6.1%}"
    )


def list_broken_promises(cases: Sequence[Comparison], settings: Mapping[str, Any]) -> list[str]:
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


def mean_error(cases: Sequence[Comparison]) -> float:
    """The mean of the errors' sizes."""
    return statistics.fmean(abs(case.error) for case in cases)
