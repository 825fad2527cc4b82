"""All verdicts about a sample."""

from __future__ import annotations

from collections.abc import Iterable

from agent.checks import gpu, host, nccl, pcie, system, validation
from agent.checks.context import CheckContext
from agent.checks.sample import Verdict

ORDER = {"critical": 0, "warning": 1, "unknown": 2, "ok": 3}


def judge_sample(context: CheckContext) -> tuple[Verdict, ...]:
    """Return every verdict about a sample, the worst first."""
    verdicts = [
        verdict
        for subject in (host, system, gpu, pcie, nccl, validation)
        for check in subject.CHECKS
        for verdict in check(context)
    ]
    return tuple(sorted(verdicts, key=lambda verdict: ORDER[verdict.status]))


def find_worst_status(verdicts: Iterable[Verdict]) -> str:
    """Return the status of the whole rig: critical, warning or ok. Unknown makes it no worse."""
    statuses = {verdict.status for verdict in verdicts}
    return next((status for status in ("critical", "warning") if status in statuses), "ok")
