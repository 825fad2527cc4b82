"""Put a file, a folder or a text of the operator's on the rig."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from provision.engine.actions import ActionContext, RemoteCall
from provision.errors import RenderError
from provision.remote.modules import copy as remote

# Text that a batch may carry; what is larger is better fetched by the rig itself.
LIMIT = 64 * 1024 * 1024  # bytes

# The internal options between the two sides are not for playbooks.
OPTIONS = {name: option for name, option in remote.OPTIONS.items() if name not in remote.INTERNAL}


def act(args: dict[str, Any], context: ActionContext) -> RemoteCall:
    """`src` becomes content, or with a folder, a list of files."""
    given = {name: value for name, value in args.items() if value is not None}
    if isinstance(given.get("content"), (dict, list)):
        given["content"] = json.dumps(given["content"])
    if args.get("remote_src") or args.get("src") is None:
        return RemoteCall("copy", given)
    src = given.pop("src")
    path = context.find(src, "files")
    try:
        if not path.is_dir():
            if given.get("mode") == "preserve":
                given["mode"] = _mode(path)
            given["_original_basename"] = path.name  # for a dest that is a folder
            return RemoteCall("copy", {**given, "content_base64": _encode(path, context)})
        # As rsync and Ansible: 'src/' is what is in the folder, 'src' the folder itself.
        base = path if src.endswith("/") else path.parent
        files = [
            {"path": str(file.relative_to(base)), "directory": True}
            if file.is_dir()
            else {
                "path": str(file.relative_to(base)),
                "content_base64": _encode(file, context),
                "mode": _mode(file),
            }
            for file in sorted(path.rglob("*"))
            if "__pycache__" not in file.parts
        ]
    except OSError as error:
        raise RenderError(f"can't read {path}: {error}", context.task.args.at("src")) from None
    return RemoteCall("copy", {**given, "files": files})


def _mode(path: Path) -> str:
    return format(path.stat().st_mode & 0o777, "04o")


def _encode(path: Path, context: ActionContext) -> str:
    if path.stat().st_size > LIMIT:
        raise RenderError(
            f"{path} is larger than {LIMIT >> 20} MiB",
            context.task.args.at("src"),
            "Let the rig fetch it: ansible.builtin.get_url.",
        )
    return base64.b64encode(path.read_bytes()).decode()
