"""How much counters grew over the last minutes, from points kept at a coarse step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

Key = tuple[str, ...]
STEPS = 20  # points kept in a window


class Trends:
    """Growth over a window of time; of 0 seconds, since the moment before.

    What a counter held at first sight is not of the window.
    """

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._points: deque[tuple[float, dict[Key, float]]] = deque()
        self._last: dict[Key, float] = {}
        self._grown: dict[Key, float] = {}

    def add(self, now: float, counters: Mapping[Key, float]) -> dict[Key, float]:
        """Take the counters of a moment (monotonic seconds); the growth of each in the window."""
        for key, value in counters.items():
            before = self._last.get(key, value)
            # One that fell began anew: at a reboot of the device, a reload of the driver.
            self._grown[key] = self._grown.get(key, 0) + (
                value - before if value >= before else value
            )
            self._last[key] = value
        if not self._points or now - self._points[-1][0] >= self._window / STEPS:
            self._points.append((now, dict(self._grown)))
        while len(self._points) > 1 and self._points[1][0] < now - self._window:
            self._points.popleft()
        first = self._points[0][1]
        return {key: self._grown[key] - first.get(key, 0) for key in counters}
