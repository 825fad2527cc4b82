"""Services, as Ansible's service manages them where systemd does (the only kind here).

Not here: `pattern`, `sleep`, `runlevel`, `arguments`, which systemd has no use for.
"""

from __future__ import annotations

from typing import Any

from provision.remote.host import ModuleHost, Result
from provision.remote.modules import systemd_service
from provision.remote.options import Option

OPTIONS = {
    "name": Option(required=True),
    "state": systemd_service.OPTIONS["state"],
    "enabled": Option("bool"),
    "use": Option(default="auto"),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: those of systemd_service."""
    more = {"masked": None, "daemon_reload": False, "no_block": False, "scope": "system"}
    return systemd_service.run({**more, **args}, host)
