"""Do the same on many hosts at once; an error of one host is its own answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from provision.errors import DeeprigError, InternalError
from provision.inventory.hosts import Host

FORKS = 16  # hosts at work at once
POLL = 0.1  # seconds between two attempts to stop what an interrupt ends

Answer = TypeVar("Answer")


def run_on_hosts(
    hosts: Sequence[Host],
    work: Callable[[Host], Answer],
    *,
    forks: int = FORKS,
    meanwhile: Callable[[], None] = lambda: None,
    on_answer: Callable[[str, Answer | DeeprigError], None] = lambda name, answer: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> dict[str, Answer | DeeprigError]:
    """Return what `work` returns for each host, or its error, by name in the order of the hosts.

    meanwhile: runs in this thread while the hosts' threads wait for their connections.
    on_answer: runs in this thread as soon as a host is done.
    on_interrupt: ends what runs on the hosts; on Ctrl-C it is called until all threads have ended,
    and KeyboardInterrupt is raised.
    """
    answers: dict[str, Answer | DeeprigError] = {}
    with ThreadPoolExecutor(max(1, min(forks, len(hosts)))) as pool:
        futures: dict[Future[Answer | DeeprigError], str] = {}
        try:
            for host in hosts:
                futures[pool.submit(attempt, work, host)] = host.name
            meanwhile()
            pending = set(futures)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    answers[futures[future]] = future.result()
                    on_answer(futures[future], future.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            on_interrupt()
            while wait(futures, timeout=POLL).not_done:
                on_interrupt()
            raise
    return {host.name: answers[host.name] for host in hosts}


def attempt(work: Callable[..., Answer], *args: Any) -> Answer | DeeprigError:
    """Return what `work` returns, or its error: a fault in one host's answer hides no other's."""
    try:
        return work(*args)
    except DeeprigError as error:
        return error
    except Exception as error:
        return InternalError(error)
