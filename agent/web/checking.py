"""Password checks: one at a time, apart from the event loop, and few of each address.

Guesses cost a core at most, and a user who logs in does not queue behind them: the address with the
fewest recent failures is next, and what exceeds the limits is refused at once, without a check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from agent.web.attempts import Attempts
from agent.web.limits import Limits


class TooManyChecksError(Exception):
    """The check is refused. seconds: until the client may ask again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"retry in {seconds} s")
        self.seconds = seconds


@dataclass(eq=False)
class Check:
    """One check, for all requests of an address that have the same credentials."""

    address: str
    run: Callable[[], bool]
    result: asyncio.Future[bool]
    requests: int = 0  # that wait for the result


@dataclass
class Queue:
    """The checks that wait or run, by address and credentials."""

    checks: dict[tuple[str, bytes], Check] = field(default_factory=dict)
    running: Check | None = None

    @property
    def waiting(self) -> list[Check]:
        """The checks that have not begun, oldest first."""
        return [check for check in self.checks.values() if check is not self.running]


class Checker:
    """Runs checks in a thread. For the event loop's thread only."""

    def __init__(self, limits: Limits, attempts: Attempts | None = None) -> None:
        self._limits = limits
        self._attempts = attempts or Attempts(limits)
        self._queue = Queue()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")

    async def check(self, address: str, credentials: bytes, run: Callable[[], bool]) -> bool:
        """Return the result of a check. Raises TooManyChecksError instead of a long wait.

        credentials: a digest of them and of what they are checked against.
        """
        key = (address, credentials)
        check = self._queue.checks.get(key)
        if check is None:
            self._make_room(address)
            check = Check(address, run, asyncio.get_running_loop().create_future())
            self._queue.checks[key] = check
            self._start_next()
        check.requests += 1
        try:
            return await asyncio.shield(check.result)
        finally:
            check.requests -= 1
            if not check.requests and not check.result.done() and check is not self._queue.running:
                self._remove(check)  # its clients are gone

    def _make_room(self, address: str) -> None:
        own = sum(check.address == address for check in self._queue.checks.values())
        seconds = self._attempts.wait_seconds(address, own)
        if own >= self._limits.checks_per_address or seconds:
            raise TooManyChecksError(seconds or 1)
        waiting = self._queue.waiting
        if len(waiting) < self._limits.checks_waiting:
            return
        worst = max(reversed(waiting), key=self._failures)
        if self._failures(worst) <= self._attempts.failures(address):
            raise TooManyChecksError(1)
        self._remove(worst)
        worst.result.set_exception(TooManyChecksError(1))

    def _failures(self, check: Check) -> float:
        return self._attempts.failures(check.address)

    def _remove(self, check: Check) -> None:
        keys = [key for key, other in self._queue.checks.items() if other is check]
        for key in keys:
            del self._queue.checks[key]

    def _start_next(self) -> None:
        waiting = self._queue.waiting
        if self._queue.running is not None or not waiting:
            return
        check = min(waiting, key=self._failures)
        self._queue.running = check
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, check.run).add_done_callback(self._finish)

    def _finish(self, done: asyncio.Future[bool]) -> None:
        check, self._queue.running = self._queue.running, None
        assert check is not None
        self._remove(check)
        error = done.exception()
        if error is not None:
            check.result.set_exception(error)
            check.result.exception()  # retrieved, should no request wait for it any more
        else:
            if not done.result():
                self._attempts.fail(check.address)
            check.result.set_result(done.result())
        self._start_next()
