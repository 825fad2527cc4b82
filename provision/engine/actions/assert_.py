"""Fail unless every condition of `that` is true."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext
from provision.engine.results import Result
from provision.remote.options import Option
from provision.templating.unknown import Unknown

OPTIONS = {
    "that": Option("raw", required=True),
    "fail_msg": Option("raw", aliases=("msg",)),
    "success_msg": Option("raw"),
    "quiet": Option("bool", default=False),
}
UNRENDERED = ("that",)


def act(args: dict[str, Any], context: ActionContext) -> Result:
    """Return values: assertion and evaluated_to (of the first that fails), msg."""
    conditions = args["that"] if isinstance(args["that"], list) else [args["that"]]
    for condition in conditions:
        truth = context.templar.condition(condition, context.task.args.at("that"))
        if isinstance(truth, Unknown):
            return Result(unknown=truth.reason)
        if not truth:
            values = {
                "assertion": str(condition),
                "evaluated_to": False,
                "msg": args["fail_msg"] or f"Assertion failed: {condition}",
            }
            return Result(values, failed=True)
    return Result({"msg": args["success_msg"] or "All assertions passed"})
