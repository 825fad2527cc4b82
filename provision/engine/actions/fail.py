"""Fail with a message, usually below a condition (`when`)."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext
from provision.engine.results import Result
from provision.remote.options import Option

OPTIONS = {"msg": Option("raw", default="Failed as requested from task")}


def act(args: dict[str, Any], context: ActionContext) -> Result:
    """Always a failure."""
    return Result({"msg": args["msg"]}, failed=True)
