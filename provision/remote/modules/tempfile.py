"""A new scratch file or folder, as Ansible's tempfile makes it; always a change."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from provision.remote.host import Host, ModuleFailure, Result
from provision.remote.modules.stat import attributes_of
from provision.remote.options import Option

OPTIONS = {
    "state": Option(default="file", choices=("directory", "file")),
    "path": Option("path"),
    "prefix": Option(default="ansible."),
    "suffix": Option(default=""),
}


def run(args: dict[str, Any], host: Host) -> Result:
    """Return values: path, and its attributes."""
    if host.check:
        return {"changed": True, "unknown": "its name is drawn when it is made"}
    try:
        if args["state"] == "directory":
            path = tempfile.mkdtemp(args["suffix"], args["prefix"], args["path"])
        else:
            handle, path = tempfile.mkstemp(args["suffix"], args["prefix"], args["path"])
            os.close(handle)
    except OSError as error:
        raise ModuleFailure(f"can't make a scratch {args['state']}: {error}") from None
    return {"changed": True, "path": path, **attributes_of(path)}
