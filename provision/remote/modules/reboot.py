"""Ask systemd for a reboot and return at once; the operator's side waits for the rig."""

from __future__ import annotations

import subprocess
from typing import Any

from provision.remote.host import Host, Result
from provision.remote.options import Option
from provision.remote.worker import boot_id

OPTIONS = {"msg": Option(default="Reboot initiated by deeprig")}


def run(args: dict[str, Any], host: Host) -> Result:
    """Return values: boot_id (of the boot that ends)."""
    if not host.check:
        # Detached and a moment later, so that this result still reaches the operator.
        subprocess.Popen(
            ["sh", "-c", 'sleep 1; exec shutdown -r now "$0"', args["msg"]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return {"changed": True, "boot_id": boot_id()}
