"""Show the hosts' answers one after another; errors go to standard error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from provision.errors import DeeprigError, ExitStatus, describe
from provision.output.terminal import Terminal
from provision.ssh.fanout import attempt

Answer = TypeVar("Answer")


def show_answers(
    answers: Mapping[str, Answer | DeeprigError], show: Callable[[str, Answer], None]
) -> int:
    """Show each host's answer in its turn; return the highest exit status.

    Errors go to stderr, also that of an answer that can't be shown.
    """
    errors = Terminal(error=True)  # --json has stdout to itself
    worst: int = ExitStatus.OK
    for name, answer in answers.items():
        failure = answer if isinstance(answer, DeeprigError) else attempt(show, name, answer)
        if isinstance(failure, DeeprigError):
            errors.print(describe(failure, name), style="red")
            worst = max(worst, failure.status)
    return worst
