"""How much counters grew in the last minutes, from points at a coarse step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

Key = tuple[str, ...]
STEPS = 20  # points in a window


class CounterGrowth:
    """Growth of counters over a window of time. A window of 0 seconds: since the call before.

    The value that a counter has when it is first seen does not count.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._points: deque[tuple[float, dict[Key, float]]] = deque()
        self._last: dict[Key, float] = {}
        self._growth: dict[Key, float] = {}

    def add(self, now: float, counters: Mapping[Key, float]) -> dict[Key, float]:
        """Add the counters of a moment (monotonic seconds); return their growth in the window."""
        for key, value in counters.items():
            before = self._last.get(key, value)
            # A lower value: the counter was reset, with the device or the driver.
            increase = value - before if value >= before else value
            self._growth[key] = self._growth.get(key, 0) + increase
            self._last[key] = value
        if not self._points or now - self._points[-1][0] >= self._window / STEPS:
            self._points.append((now, dict(self._growth)))
        while len(self._points) > 1 and self._points[1][0] < now - self._window:
            self._points.popleft()
        first = self._points[0][1]
        return {key: self._growth[key] - first.get(key, 0) for key in counters}
