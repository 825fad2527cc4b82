"""Password checks: one at a time, in a separate thread, and few for each address.

Guessing costs one core at most, and a user's login does not wait behind guesses: the address with
the fewest recent failures is next, and checks above the limits are refused at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from time import monotonic

from agent.web.limits import ClientLimits

ADDRESSES_MOST = 4096  # with remembered failures; the oldest are forgotten


@dataclass
class Failures:
    """The failures of an address that still counted at a time of the monotonic clock."""

    count: float
    at: float


class FailureBudget:
    """How many wrong passwords each address may send; the budget refills with time."""

    def __init__(self, limits: ClientLimits, clock: Callable[[], float] = monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._failures: dict[str, Failures] = {}

    def count_failures(self, address: str) -> float:
        """Return how many failures of the address still count."""
        failures = self._failures.get(address)
        if failures is None:
            return 0.0
        forgiven = (self._clock() - failures.at) / self._limits.failure_seconds
        return max(0.0, failures.count - forgiven)

    def find_wait(self, address: str, running: int) -> int:
        """Return after how many seconds the address may try again; 0 if it may try now.

        running: its checks without a result yet, which count as failures.
        """
        excess = self.count_failures(address) + running + 1 - self._limits.failures
        return max(1, ceil(excess * self._limits.failure_seconds)) if excess > 0 else 0

    def add_failure(self, address: str) -> None:
        """Count a wrong password."""
        count = self.count_failures(address) + 1
        self._failures.pop(address, None)  # ordered by the last failure
        self._failures[address] = Failures(count, self._clock())
        if len(self._failures) > ADDRESSES_MOST:
            del self._failures[next(iter(self._failures))]


class TooManyChecksError(Exception):
    """The check is refused. seconds: until the client may ask again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"retry in {seconds} s")
        self.seconds = seconds


@dataclass(eq=False)
class PasswordCheck:
    """One check, shared by all requests of an address with the same credentials.

    requests: how many wait for the result.
    """

    address: str
    run: Callable[[], bool]
    result: asyncio.Future[bool]
    requests: int = 0


class PasswordChecker:
    """Runs checks in a thread. For the event loop's thread only."""

    def __init__(self, limits: ClientLimits, budget: FailureBudget | None = None) -> None:
        self._limits = limits
        self._budget = budget or FailureBudget(limits)
        self._checks: dict[tuple[str, bytes], PasswordCheck] = {}  # oldest first
        self._running: PasswordCheck | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")

    async def check(self, address: str, credentials: bytes, run: Callable[[], bool]) -> bool:
        """Return the result of a check. Raises TooManyChecksError instead of a long wait.

        credentials: a digest of the credentials and of the users that they are checked against.
        """
        key = (address, credentials)
        check = self._checks.get(key)
        if check is None:
            self._make_room(address)
            check = PasswordCheck(address, run, asyncio.get_running_loop().create_future())
            self._checks[key] = check
            self._start_next()
        check.requests += 1
        try:
            return await asyncio.shield(check.result)
        finally:
            check.requests -= 1
            if not check.requests and not check.result.done() and check is not self._running:
                self._remove(check)  # its clients have left

    def _list_waiting(self) -> list[PasswordCheck]:
        return [check for check in self._checks.values() if check is not self._running]

    def _make_room(self, address: str) -> None:
        count = sum(check.address == address for check in self._checks.values())
        seconds = self._budget.find_wait(address, count)
        if count >= self._limits.checks_per_address or seconds:
            raise TooManyChecksError(seconds or 1)
        waiting = self._list_waiting()
        if len(waiting) < self._limits.checks_waiting:
            return
        worst = max(reversed(waiting), key=self._count_failures)
        if self._count_failures(worst) <= self._budget.count_failures(address):
            raise TooManyChecksError(1)
        self._remove(worst)
        worst.result.set_exception(TooManyChecksError(1))

    def _count_failures(self, check: PasswordCheck) -> float:
        return self._budget.count_failures(check.address)

    def _remove(self, check: PasswordCheck) -> None:
        for key in [key for key, other in self._checks.items() if other is check]:
            del self._checks[key]

    def _start_next(self) -> None:
        waiting = self._list_waiting()
        if self._running is not None or not waiting:
            return
        check = min(waiting, key=self._count_failures)
        self._running = check
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, check.run).add_done_callback(self._finish)

    def _finish(self, done: asyncio.Future[bool]) -> None:
        check, self._running = self._running, None
        assert check is not None
        self._remove(check)
        error = done.exception()
        if error is not None:
            check.result.set_exception(error)
            check.result.exception()  # retrieved, in case no request waits for it any more
        else:
            if not done.result():
                self._budget.add_failure(check.address)
            check.result.set_result(done.result())
        self._start_next()
