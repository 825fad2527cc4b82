"""Ask systemd for a reboot in a moment, and return; the operator's side waits for the rig."""

from __future__ import annotations

from typing import Any

from provision.remote.host import ModuleHost, Result
from provision.remote.options import Option
from provision.remote.worker import boot_id

OPTIONS = {"msg": Option(default="Reboot initiated by deeprig")}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: boot_id (of the boot that ends)."""
    if not host.check:
        # A timer, so that this result reaches the operator before the connection ends; systemd may
        # delay a timer by a minute unless its accuracy is set.
        soon = ["systemd-run", "--quiet", "--on-active=1", "--timer-property=AccuracySec=100ms"]
        reboot = ["systemctl", "reboot", f"--message={args['msg']}"]
        host.require([*soon, *reboot], "asking for a reboot")
    return {"changed": True, "boot_id": boot_id()}
