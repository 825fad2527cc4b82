"""Reboot the rig and go on when it is back: its boot_id has changed and a command runs."""

from __future__ import annotations

from typing import Any

from provision.engine.actions import ActionContext, Control
from provision.remote.options import Option

OPTIONS = {
    "reboot_timeout": Option("int", default=600, aliases=("reboot_timeout_sec",)),
    "connect_timeout": Option("int", default=5, aliases=("connect_timeout_sec",)),
    "msg": Option(default="Reboot initiated by deeprig"),
}


def act(args: dict[str, Any], context: ActionContext) -> Control:
    """Times are in seconds."""
    return Control("reboot", args)
