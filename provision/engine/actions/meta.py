"""Steer the run: `flush_handlers`, `end_host`, `noop`."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext, Control
from provision.remote.options import Option

VERBS = ("flush_handlers", "end_host", "noop")
OPTIONS = {"_raw_params": Option(required=True, choices=VERBS)}


def act(args: dict[str, Any], context: ActionContext) -> Control:
    """Return the runner knows the verbs."""
    return Control(args["_raw_params"])
