"""A block of lines between two markers, as Ansible's blockinfile keeps it.

Not here: `attributes`, `unsafe_writes`, SELinux, `encoding`.
"""

from __future__ import annotations

import os
import re
from typing import Any

from provision.remote.files import ATTRIBUTES, is_folder, put_content, read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.lineinfile import missing_file_result, pattern
from provision.remote.options import Option
from provision.remote.trees import create_folders

OPTIONS = {
    "path": Option("path", required=True, aliases=("dest", "destfile", "name")),
    "block": Option(default="", aliases=("content",)),
    "state": Option(default="present", choices=("absent", "present")),
    "marker": Option(default="# {mark} ANSIBLE MANAGED BLOCK"),
    "marker_begin": Option(default="BEGIN"),
    "marker_end": Option(default="END"),
    "insertafter": Option(),
    "insertbefore": Option(),
    "create": Option("bool", default=False),
    "backup": Option("bool", default=False),
    "validate": Option(),
    "prepend_newline": Option("bool", default=False),
    "append_newline": Option("bool", default=False),
    **ATTRIBUTES,
}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: msg, backup_file."""
    path = os.path.expanduser(args["path"])
    if args["insertbefore"] is not None and args["insertafter"] is not None:
        raise ModuleFailure("insertbefore and insertafter exclude each other")
    if is_folder(path):
        raise ModuleFailure(f"Path {path} is a directory !", rc=256)
    before = read_bytes(path)
    if before is None:
        if not args["create"]:
            return missing_file_result(path, host)
        if args["state"] == "absent":
            return {"changed": False, "msg": f"File {path} not present"}
        if not host.check:
            create_folders(host, os.path.dirname(os.path.abspath(path)), {})
    after = b"".join(with_block((before or b"").splitlines(True), before or b"", args))
    result = put_content(host, path, after, args)
    if after == before:
        msg = ""
    elif before is None:
        msg = "File created"
    else:
        msg = "Block inserted" if args["state"] == "present" and args["block"] else "Block removed"
    return {**result, "msg": msg}


def with_block(lines: list[bytes], text: bytes, args: dict[str, Any]) -> list[bytes]:
    """Return the lines with the block in its place, or without it."""
    begin, end = (
        (args["marker"].replace("{mark}", args[name]) + "\n").encode()
        for name in ("marker_begin", "marker_end")
    )
    present = args["state"] == "present"
    block: list[bytes] = []
    if present and args["block"]:
        body = args["block"].encode()
        block = [begin, *(body if body.endswith(b"\n") else body + b"\n").splitlines(True), end]
    if begin in lines and end in lines:
        marks = sorted(_find_last(lines, mark) for mark in (begin, end))
        at = marks[0]
        lines = lines[:at] + lines[marks[1] + 1 :]
    else:
        at = _place(lines, text, args)
    lines = list(lines)
    if at > 0 and not lines[at - 1].endswith(b"\n"):
        lines[at - 1] += b"\n"
    if present and args["prepend_newline"] and at and lines[at - 1] != b"\n":
        block = [b"\n", *block]
    if present and args["append_newline"] and at < len(lines) and lines[at] != b"\n":
        block = [*block, b"\n"]
    return lines[:at] + block + lines[at:]


def _find_last(lines: list[bytes], line: bytes) -> int:
    return len(lines) - 1 - lines[::-1].index(line)


def _place(lines: list[bytes], text: bytes, args: dict[str, Any]) -> int:
    """Return the number of the line before which a new block goes."""
    after, before = args["insertafter"], args["insertbefore"]
    if before == "BOF":
        return 0
    if after == "EOF" or (after is None and before is None):
        return len(lines)
    option = "insertafter" if after is not None else "insertbefore"
    expression = pattern(after if after is not None else before, option)
    position = None
    if expression.flags & re.MULTILINE:
        match = expression.search(text)
        if match:
            position = text.count(b"\n", 0, match.end() if after is not None else match.start())
    else:
        for index, line in enumerate(lines):
            if expression.search(line):
                position = index
    if position is None:
        return len(lines)
    return position + 1 if after is not None else position
