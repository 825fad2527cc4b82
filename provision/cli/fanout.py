"""The same question to many hosts at once; what one of them raises is its own answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from provision.errors import DeeprigError, describe
from provision.inventory.hosts import Host
from provision.output.terminal import Terminal

Answer = TypeVar("Answer")


def each(hosts: Sequence[Host], read: Callable[[Host], Answer]) -> dict[str, Answer | DeeprigError]:
    """What `read` gives of each host, or why it gives nothing, by name."""

    with ThreadPoolExecutor(len(hosts)) as pool:
        answers = pool.map(lambda host: attempt(read, host), hosts)
        return dict(zip((host.name for host in hosts), answers, strict=True))


def attempt(work: Callable[..., Answer], *args: Any) -> Answer | DeeprigError:
    """What `work` gives, or why it gives nothing: a fault in one host's answer hides no other's."""
    try:
        return work(*args)
    except DeeprigError as error:
        return error
    except Exception as error:
        return DeeprigError(f"deeprig itself broke here: {error!r}")


def show_each(
    answers: Mapping[str, Answer | DeeprigError], show: Callable[[str, Answer], None]
) -> int:
    """Show each host's answer in its turn; return the worst status, 0 where all are shown.

    The error of a host without an answer, or with one that can't be shown, goes to stderr.
    """
    errors = Terminal(error=True)  # --json has stdout to itself
    worst = 0
    for name, answer in answers.items():
        failure = answer if isinstance(answer, DeeprigError) else attempt(show, name, answer)
        if isinstance(failure, DeeprigError):
            errors.print(describe(failure, name), style="red")
            worst = max(worst, failure.status)
    return worst
