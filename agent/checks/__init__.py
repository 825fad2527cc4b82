"""Verdicts: pure functions from readings and expectations. One file a subject.

Each check looks at one thing and gives ok, warning, critical or unknown, with the reading, the
expectation, and from tables/checks.yml why it matters and what to do. Adding a check is adding a
row there and a function here.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.checks import gpu, host, nccl, pcie, validation
from agent.checks.context import Context
from agent.checks.sample import Verdict

ORDER = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}


def judge(context: Context) -> tuple[Verdict, ...]:
    """Every verdict about a sample, the worst first."""
    found = [
        verdict
        for subject in (host, gpu, pcie, nccl, validation)
        for check in subject.CHECKS
        for verdict in check(context)
    ]
    return tuple(sorted(found, key=lambda verdict: ORDER[verdict.status]))


def worst(verdicts: Iterable[Verdict]) -> str:
    """The status of the whole: critical, warning or ok. What is unknown makes nothing worse."""
    statuses = {verdict.status for verdict in verdicts}
    return next((status for status in ("critical", "warning") if status in statuses), "ok")
