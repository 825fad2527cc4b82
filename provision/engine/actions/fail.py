"""Fail with a message: for what a condition (`when`) found."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import Context
from provision.remote.options import Option

OPTIONS = {"msg": Option("raw", default="Failed as requested from task")}


def act(args: dict[str, Any], context: Context) -> dict[str, Any]:
    """Always a failure."""
    return {"failed": True, "changed": False, "msg": args["msg"]}
