"""Run a command line in a shell, as Ansible's shell does; /bin/sh unless `executable` is set."""

from __future__ import annotations

from typing import Any

from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.command import SHARED_OPTIONS, execute
from provision.remote.options import Option

OPTIONS = {**SHARED_OPTIONS, "executable": Option("path")}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: those of command."""
    text = args["cmd"] or args["_raw_params"]
    if not text:
        raise ModuleFailure("no command given", rc=256)
    return execute(host, text, args, args["executable"] or "/bin/sh")
