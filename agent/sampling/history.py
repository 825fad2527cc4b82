"""The last hour of a few values for the status page's plots: a mean every 15 seconds."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import isnan, nan
from typing import TypedDict

STEP_SECONDS = 15.0
STEPS = 240
SERIES = (
    "temperature_celsius",
    "power_watts",
    "memory_used_bytes",
    "utilization_ratio",
    "path_width",
    "path_speed",
)


class HistoryDocument(TypedDict):
    """The document of /api/v1/history. times: Unix seconds. series: by name and GPU."""

    api_version: str
    interval_seconds: float
    times: list[float]
    series: dict[str, dict[str, list[float | None]]]


class History:
    """A ring of STEPS values for each series and GPU. Times are seconds since boot."""

    def __init__(self) -> None:
        self._rings: dict[tuple[str, str], array[float]] = {}
        self._step: int | None = None
        self._sums: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, now: float, values: Mapping[tuple[str, str], float | None]) -> None:
        """Add the values of a moment, by series and GPU."""
        step = int(now // STEP_SECONDS)
        if step != self._step:
            missed = 0 if self._step is None else min(step - self._step, STEPS)
            for ring in self._rings.values():
                for number in range(missed):
                    ring[(step - number) % STEPS] = nan
            self._step, self._sums = step, {}
        for key, value in values.items():
            if value is None:
                continue
            if key not in self._rings:
                self._rings[key] = array("d", [nan]) * STEPS
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (total + value, count + 1)
            self._rings[key][step % STEPS] = (total + value) / (count + 1)

    def build_document(self, now: float, wall: float) -> HistoryDocument:
        """Return the document of /api/v1/history. wall: `now` in Unix seconds."""
        step = int(now // STEP_SECONDS)
        order = range(step - STEPS + 1, step + 1)
        last = step if self._step is None else self._step
        series: dict[str, dict[str, list[float | None]]] = {name: {} for name in SERIES}
        for (name, gpu), ring in sorted(self._rings.items()):
            # Behind the last step, the ring has values of the hour before.
            values = [ring[number % STEPS] if number <= last else nan for number in order]
            series[name][gpu] = [
                None if isnan(value) else float(f"{value:.5g}") for value in values
            ]
        start = wall - now
        return {
            "api_version": "v1",
            "interval_seconds": STEP_SECONDS,
            "times": [round(start + number * STEP_SECONDS, 3) for number in order],
            "series": series,
        }
