"""A new scratch file or folder, as Ansible's tempfile makes it; always a change."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.stat import attributes
from provision.remote.options import Option
from provision.remote.paths import reach

OPTIONS = {
    "state": Option(default="file", choices=("directory", "file")),
    "path": Option("path"),
    "prefix": Option(default="ansible."),
    "suffix": Option(default=""),
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: path, and its attributes."""
    if host.check:
        return {"changed": True, "unknown": "its name is drawn when it is made"}
    try:
        with reach(args["path"] or tempfile.gettempdir()) as place:
            folder = place.open_folder()
        try:
            name = _create(folder.fd, args)
            info = os.lstat(name, dir_fd=folder.fd)
        finally:
            os.close(folder.fd)
    except OSError as error:
        raise ModuleFailure(f"can't make a scratch {args['state']}: {error}") from None
    return {"changed": True, "path": folder.child(name), **attributes(info)}


def _create(folder: int, args: dict[str, Any]) -> str:
    """Create a new name in a folder; return it."""
    name = f"{args['prefix']}{os.urandom(5).hex()}{args['suffix']}"
    if args["state"] == "directory":
        os.mkdir(name, 0o700, dir_fd=folder)
    else:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o600, dir_fd=folder))
    return name
