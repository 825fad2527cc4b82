"""systemd's units, as Ansible's systemd_service manages them; system scope only.

Differs: `enabled` on a static, transient or generated unit (an init script's apart) is ok: there is
nothing to enable or disable, and Ansible reports a change each time. `status` holds the useful
properties only.
Not here: scopes user and global, `force`, `daemon_reexec`.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any

from provision.remote import systemd
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "name": Option(aliases=("service", "unit")),
    "state": Option(choices=("reloaded", "restarted", "started", "stopped")),
    "enabled": Option("bool"),
    "masked": Option("bool"),
    "daemon_reload": Option("bool", default=False, aliases=("daemon-reload",)),
    "no_block": Option("bool", default=False),
    "scope": Option(default="system", choices=("system",)),
}

RUNNING = ("active", "activating")
# Enabling or disabling these changes nothing: they have no [Install] section.
FIXED = ("static", "generated", "transient")
MASKED = ("masked", "masked-runtime")
SCRIPTS = "/etc/init.d"
RUN_LEVELS = "/etc/rc[2-5].d"


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: name, status, enabled, state."""
    name = args["name"]
    asked = any(args[option] is not None for option in ("state", "enabled", "masked"))
    if asked and not name:
        raise ModuleFailure("state, enabled and masked need the name of a unit")
    if not asked and not args["daemon_reload"]:
        raise ModuleFailure("one of state, enabled, masked and daemon_reload is needed")
    if name and re.search(r"[*?\[]", name):
        raise ModuleFailure(f"a unit's name can't be a pattern: {name}")
    result: Result = {"changed": False, "name": name}
    if args["daemon_reload"] and not host.check:
        systemd.systemctl(host, ["daemon-reload"], "reloading systemd's configuration")
    if not name:
        return result
    unit = systemd.read_unit(host, name)
    result["status"] = unit
    if unit.get("LoadError") and unit["LoadState"] not in ("not-found", "masked"):
        raise ModuleFailure(f"the file of unit {name} is in error: {unit['LoadError']}", **result)
    if args["masked"] is not None:
        _mask(name, unit, args["masked"], host, result)
        unit = unit if host.check else systemd.read_unit(host, name)
    if args["enabled"] is None and args["state"] is None:
        return result
    if unit["LoadState"] == "not-found":
        if host.check:
            # Its package may be installed, or its file written, by a task before this one.
            wanted = args["state"] != "stopped" and args["enabled"] is not False
            return {
                **result,
                "changed": result["changed"] or wanted,
                "unknown": f"the unit {name} does not exist yet",
            }
        raise ModuleFailure(
            f"Could not find the requested service {name}: host; install its package or put its "
            "unit file in place first",
            **result,
        )
    if args["enabled"] is not None:
        _enable(name, unit, args["enabled"], host, result)
    if args["state"] is not None:
        _set_state(name, unit, args, host, result)
    return result


def _mask(name: str, unit: systemd.Unit, wanted: bool, host: ModuleHost, result: Result) -> None:
    masked = unit.get("UnitFileState") in MASKED or unit["LoadState"] == "masked"
    if masked != wanted:
        action = "mask" if wanted else "unmask"
        result["changed"] = True
        if not host.check:
            systemd.systemctl(host, [action, systemd.unit_name(name)], f"{action}ing {name}")


def _enable(name: str, unit: systemd.Unit, wanted: bool, host: ModuleHost, result: Result) -> None:
    state = unit.get("UnitFileState", "")
    result["enabled"] = wanted
    if state == "generated" and os.path.exists(os.path.join(SCRIPTS, _stem(name))):
        state = "enabled" if started_by_script(name) else "disabled"
    if state in FIXED or (state == "alias" and not wanted):
        result["enabled"] = True
        return
    if (state == "enabled") == wanted and state not in ("enabled-runtime", "indirect"):
        return
    action = "enable" if wanted else "disable"
    if host.check:
        result["changed"] = state != "indirect" or result["changed"]
        if state == "indirect":
            result["unknown"] = f"only systemd knows whether there is something to {action}"
        return
    done = systemd.systemctl(host, [action, systemd.unit_name(name)], f"{action[:-1]}ing {name}")
    # An indirect unit stays indirect: the links that were made or removed tell.
    if state != "indirect" or re.search(r"[Ss]ymlink|Removed", done.stderr + done.stdout):
        result["changed"] = True


def started_by_script(name: str) -> bool:
    """Return whether one of the old run levels starts an init script."""
    return bool(glob.glob(f"{RUN_LEVELS}/S[0-9][0-9]{glob.escape(_stem(name))}"))


def _stem(name: str) -> str:
    return systemd.unit_name(name)[: -len(".service")]


def _set_state(
    name: str, unit: systemd.Unit, args: dict[str, Any], host: ModuleHost, result: Result
) -> None:
    wanted = args["state"]
    active = unit["ActiveState"]
    running = active in RUNNING
    result["state"] = "stopped" if wanted == "stopped" else "started"
    if wanted == "stopped":
        action = "stop" if running or active in ("deactivating", "reloading") else None
    elif wanted == "started":
        action = None if running or active == "reloading" else "start"
    else:
        action = wanted[: -len("ed")] if running or active == "reloading" else "start"
    if action:
        result["changed"] = True
        if not host.check:
            words = [action, *(["--no-block"] if args["no_block"] else [])]
            systemd.systemctl(host, [*words, systemd.unit_name(name)], f"{action} of {name}")
            result["status"] = systemd.read_unit(host, name)
