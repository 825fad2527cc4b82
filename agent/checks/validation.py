"""The check of the last validation."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checks.context import CheckContext
from agent.checks.judgements import Status
from agent.checks.sample import RIG, Verdict

TITLES_MOST = 3  # in a reading; further ones are counted


def check_last_validation(context: CheckContext) -> Iterator[Verdict]:
    """Check that nothing was critical when the suite last ran. No verdict if it never ran."""
    validation = context.sample.validation
    if validation is None:
        return
    total = sum(validation.counts.values())
    failed = validation.counts["critical"]
    status: Status = "critical" if failed else "ok"
    reading = f"{validation.counts['ok']} of {total} checks ok"
    if failed:
        more = f" and {failed - TITLES_MOST} more" if failed > TITLES_MOST else ""
        titles = ", ".join(validation.failing[:TITLES_MOST])
        reading = f"{failed} of {total} checks critical: {titles}{more}"
    host = context.sample.host.name
    yield context.word_verdict("validation", RIG, status, reading, "none critical", host=host)


CHECKS = (check_last_validation,)
