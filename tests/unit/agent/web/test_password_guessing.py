"""Clients that guess passwords: a valid login is answered, and guessing is slow."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.unit.agent.web.process import AgentProcess, running
from tests.unit.agent.web.server import wait_for
from tests.unit.agent.web.test_webconfig import basic

GUESSERS = 200
LOGIN_SECONDS_MOST = 4.0  # it took more than 10 behind the 200 guesses


@contextmanager
def guessing(agent: AgentProcess, seen: Counter[int]) -> Iterator[None]:
    """Guess from 127.0.0.1 with 200 clients at a time until the block ends; count the answers."""
    ended = threading.Event()

    def guess(number: int) -> None:
        count = 0
        while not ended.is_set():
            count += 1
            try:
                client = agent.connect()
                answer = client.ask("/metrics", authorization=basic("ann", f"{number} {count}"))
            except OSError:
                continue
            seen[answer.status] += 1
            if answer.status == 429:
                assert int(answer.headers["retry-after"]) > 0
                ended.wait(0.2)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(GUESSERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_200_guessing_clients_do_not_delay_a_valid_login(tmp_path: Path) -> None:
    """Neither a first login from another address, nor a known user at the same address."""
    with running(tmp_path, users=("ann", "bob")) as agent:
        known_user = agent.connect()
        assert known_user.ask("/metrics", authorization=basic("ann", "right")).status == 200
        seen: Counter[int] = Counter()
        with guessing(agent, seen):
            wait_for(lambda: sum(seen.values()) > 5, "guesses are answered")
            began = time.monotonic()
            login = agent.connect("127.0.0.2")
            assert login.ask("/metrics", authorization=basic("bob", "right")).status == 200
            assert time.monotonic() - began < LOGIN_SECONDS_MOST
            began = time.monotonic()
            again = agent.connect("127.0.0.1")
            assert again.ask("/metrics", authorization=basic("ann", "right")).status == 200
            assert time.monotonic() - began < LOGIN_SECONDS_MOST
            wait_for(lambda: seen[429] > 100, "most guesses are refused without a check")
        assert seen[200] == 0
        assert seen[401] < 40, "few guesses are checked"
