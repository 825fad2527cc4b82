"""How many wrong passwords each address has sent: after some, it waits between attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic

from agent.web.limits import Limits

ADDRESSES_MOST = 4096  # remembered at a time; the oldest failures are forgotten


@dataclass
class Failures:
    """The failures of an address that still count, at a time of the monotonic clock."""

    count: float
    at: float


class Attempts:
    """A budget of failures per address that refills with time."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._failures: dict[str, Failures] = {}

    def failures(self, address: str) -> float:
        """Return how many failures of the address still count."""
        known = self._failures.get(address)
        if known is None:
            return 0.0
        return max(0.0, known.count - (self._clock() - known.at) / self._limits.failure_seconds)

    def wait_seconds(self, address: str, running: int) -> int:
        """Return after how many seconds the address may try again; 0 if it may now.

        running: its checks whose result is not known, which count as failures until it is.
        """
        over = self.failures(address) + running + 1 - self._limits.failures
        return max(1, ceil(over * self._limits.failure_seconds)) if over > 0 else 0

    def fail(self, address: str) -> None:
        """Count a wrong password."""
        count = self.failures(address) + 1
        self._failures.pop(address, None)  # the order is that of the last failure
        self._failures[address] = Failures(count, self._clock())
        if len(self._failures) > ADDRESSES_MOST:
            del self._failures[next(iter(self._failures))]
