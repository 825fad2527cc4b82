"""The check of the last validation."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import Context
from agent.checks.sample import RIG, Status, Verdict

NAMED = 3  # titles in a reading; more are counted


def last(context: Context) -> Iterator[Verdict]:
    """What the suite found when it last ran; nothing where it never did."""
    found = context.sample.validation
    if found is None:
        return
    total = sum(found.counts.values())
    bad = found.counts["critical"]
    status: Status = "critical" if bad else "ok"
    reading = f"{found.counts['ok']} of {total} checks ok"
    if bad:
        more = f" and {bad - NAMED} more" if bad > NAMED else ""
        reading = f"{bad} of {total} checks critical: {', '.join(found.failing[:NAMED])}{more}"
    yield context.verdict(
        "validation", RIG, status, reading, "none critical", host=context.sample.host.name
    )


CHECKS = (last,)
