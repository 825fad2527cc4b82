"""Fail unless every condition of `that` holds."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import Context
from provision.remote.options import Option

OPTIONS = {
    "that": Option("raw", required=True),
    "fail_msg": Option("raw", aliases=("msg",)),
    "success_msg": Option("raw"),
    "quiet": Option("bool", default=False),
}
UNRENDERED = ("that",)


def act(args: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return values: assertion and evaluated_to (of the first that fails), msg."""
    conditions = args["that"] if isinstance(args["that"], list) else [args["that"]]
    for condition in conditions:
        if not context.templar.condition(condition, context.task.args.at("that")):
            return {
                "failed": True,
                "changed": False,
                "assertion": str(condition),
                "evaluated_to": False,
                "msg": args["fail_msg"] or f"Assertion failed: {condition}",
            }
    return {"changed": False, "msg": args["success_msg"] or "All assertions passed"}
