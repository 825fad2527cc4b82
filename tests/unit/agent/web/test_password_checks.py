"""Password checks: a few per address, addresses without failures first, the rest refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agent.web.limits import ClientLimits
from agent.web.password_checks import (
    ADDRESSES_MOST,
    FailureBudget,
    PasswordChecker,
    TooManyChecksError,
)

LIMITS = ClientLimits(checks_per_address=2, checks_waiting=3, failures=4, failure_seconds=5.0)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A checker whose checks run one by one, as the test releases them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.attempts = FailureBudget(LIMITS, self.clock)
        self.checker = PasswordChecker(LIMITS, self.attempts)
        self.begun: list[str] = []
        self.go_on = threading.Semaphore(0)

    def ask(self, address: str, name: str, *, right: bool = False) -> asyncio.Task[bool]:
        """Request a check called `name`."""

        def run() -> bool:
            self.begun.append(name)
            self.go_on.acquire(timeout=10)
            return right

        return asyncio.ensure_future(self.checker.check(address, name.encode(), run))


def play(scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    bench = Bench()
    asyncio.run(scene(bench))


async def settle() -> None:
    """Let every task run until it waits for a check."""
    for _ in range(5):
        await asyncio.sleep(0)


def read_refusal_seconds(task: asyncio.Task[bool]) -> int:
    """Return the Retry-After seconds of a refusal."""
    error = task.exception()
    assert isinstance(error, TooManyChecksError)
    return error.seconds


def test_checks_of_an_address_are_limited() -> None:
    async def scene(bench: Bench) -> None:
        tasks = [bench.ask("a", str(number)) for number in range(5)]
        await settle()
        assert [task.done() for task in tasks] == [False, False, True, True, True]
        assert {read_refusal_seconds(task) for task in tasks[2:]} == {1}
        for _ in range(2):
            bench.go_on.release()
        assert await asyncio.gather(*tasks[:2]) == [False, False]
        assert bench.begun == ["0", "1"]

    play(scene)


def test_requests_with_the_same_credentials_share_a_check() -> None:
    """A browser opens six connections at once."""

    async def scene(bench: Bench) -> None:
        tasks = [bench.ask("a", "same", right=True) for _ in range(6)]
        bench.go_on.release()
        assert await asyncio.gather(*tasks) == [True] * 6
        assert bench.begun == ["same"]

    play(scene)


def test_address_is_delayed_after_failures() -> None:
    async def scene(bench: Bench) -> None:
        for number in range(4):
            bench.go_on.release()
            assert await bench.ask("a", str(number)) is False
        task = bench.ask("a", "fifth")
        await settle()
        assert read_refusal_seconds(task) == 5
        bench.go_on.release()
        assert await bench.ask("b", "other", right=True) is True
        bench.clock.now += 5.0
        bench.go_on.release()
        assert await bench.ask("a", "sixth", right=True) is True
        assert bench.begun == ["0", "1", "2", "3", "other", "sixth"]

    play(scene)


def test_address_without_failures_is_checked_first() -> None:
    async def scene(bench: Bench) -> None:
        for address in ("a", "b", "c"):
            bench.attempts.add_failure(address)
        tasks = [bench.ask(*pair) for pair in (("a", "1"), ("b", "2"), ("c", "3"), ("b", "4"))]
        await settle()
        login = bench.ask("d", "login", right=True)
        await settle()
        assert read_refusal_seconds(tasks[3]) == 1, "the newest guess gives its place to the login"
        for _ in range(2):
            bench.go_on.release()
        assert await login is True
        assert bench.begun[:2] == ["1", "login"]
        for _ in range(2):
            bench.go_on.release()
        assert await asyncio.gather(*tasks[:3]) == [False] * 3

    play(scene)


def test_full_queue_refuses_at_once() -> None:
    async def scene(bench: Bench) -> None:
        tasks = [bench.ask(address, address) for address in "abcd"]
        await settle()
        task = bench.ask("e", "e")
        await settle()
        assert read_refusal_seconds(task) == 1
        for _ in tasks:
            bench.go_on.release()
        assert await asyncio.gather(*tasks) == [False] * 4

    play(scene)


def test_checks_of_disconnected_clients_do_not_run() -> None:
    async def scene(bench: Bench) -> None:
        first, second = bench.ask("a", "first"), bench.ask("a", "second")
        await settle()
        second.cancel()
        await settle()
        third = bench.ask("a", "third")
        for _ in range(2):
            bench.go_on.release()
        assert [await first, await third] == [False, False]
        assert bench.begun == ["first", "third"]

    play(scene)


def test_failing_check_is_reported_and_the_next_one_runs() -> None:
    async def scene(bench: Bench) -> None:
        def broken() -> bool:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await bench.checker.check("a", b"broken", broken)
        bench.go_on.release()
        assert await bench.ask("a", "next", right=True) is True

    play(scene)


def test_failures_are_remembered_for_a_bounded_number_of_addresses() -> None:
    attempts = FailureBudget(LIMITS, Clock())
    for number in range(ADDRESSES_MOST + 10):
        attempts.add_failure(str(number))
    assert attempts.count_failures("0") == 0
    assert attempts.count_failures(str(ADDRESSES_MOST + 9)) == 1
    assert len(attempts._failures) == ADDRESSES_MOST
