"""Groups of users, as Ansible's group manages them; read without a process.

Not here: `force`, `local`, `gid_min`, `gid_max`.
"""

from __future__ import annotations

import grp
from typing import Any

from provision.remote.host import ModuleHost, Result
from provision.remote.options import Option

OPTIONS = {
    "name": Option(required=True),
    "state": Option(default="present", choices=("absent", "present")),
    "gid": Option("int"),
    "system": Option("bool", default=False),
    "non_unique": Option("bool", default=False),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: name, gid, state, system."""
    name, gid = args["name"], args["gid"]
    group = _find(name)
    result: Result = {"changed": False, "name": name, "state": args["state"]}
    words: list[str] = []
    if args["state"] == "absent":
        words = ["groupdel"] if group else []
    elif group is None:
        words = ["groupadd", *(["-r"] if args["system"] else [])]
        words += ["-g", str(gid)] if gid is not None else []
    elif gid is not None and group.gr_gid != gid:
        words = ["groupmod", "-g", str(gid)]
    if words:
        result["changed"] = True
        words += ["-o"] if args["non_unique"] and gid is not None else []
        if not host.check:
            host.require([*words, name], f"{words[0]} of {name}")
    group = _find(name)
    if args["state"] == "present":
        result.update(system=args["system"], gid=group.gr_gid if group else gid)
    return result


def _find(name: str) -> grp.struct_group | None:
    try:
        return grp.getgrnam(name)
    except KeyError:
        return None
