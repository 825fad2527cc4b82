"""One line of a text file, as Ansible's lineinfile keeps it.

Differs: a last line without its end gets one before a line is put after it. Not here: `attributes`,
`unsafe_writes`, SELinux, `encoding`.
"""

from __future__ import annotations

import os
import re
from typing import Any, Callable

from provision.remote.files import ATTRIBUTES, is_folder, put_content, read_bytes
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.options import Option
from provision.remote.trees import create_folders

OPTIONS = {
    "path": Option("path", required=True, aliases=("dest", "destfile", "name")),
    "state": Option(default="present", choices=("absent", "present")),
    "line": Option(aliases=("value",)),
    "regexp": Option(aliases=("regex",)),
    "search_string": Option(),
    "backrefs": Option("bool", default=False),
    "insertafter": Option(),
    "insertbefore": Option(),
    "firstmatch": Option("bool", default=False),
    "create": Option("bool", default=False),
    "backup": Option("bool", default=False),
    "validate": Option(),
    **ATTRIBUTES,
}

Find = Callable[[bytes], Any]


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: msg, backup (path of the copy), found (of state: absent)."""
    _check(args)
    path = os.path.expanduser(args["path"])
    if is_folder(path):
        raise ModuleFailure(f"Path {path} is a directory !", rc=256)
    before = read_bytes(path)
    if args["state"] == "absent":
        if before is None:
            return {"changed": False, "msg": "file not present", "found": 0}
        lines, removed = without_lines(before.splitlines(True), args)
        result = put_content(host, path, b"".join(lines), args)
        msg = f"{removed} line(s) removed" if removed else ""
        return {**_with_backup_path(result), "found": removed, "msg": msg}
    if before is None and not args["create"]:
        return missing_file_result(path, host)
    if before is None and not host.check:
        create_folders(host, os.path.dirname(os.path.abspath(path)), {})
    after, msg = with_line((before or b"").splitlines(True), args)
    if before is None and after == []:
        return {"changed": False, "msg": ""}
    result = put_content(host, path, b"".join(after), args)
    return {**_with_backup_path(result), "msg": msg}


def missing_file_result(path: str, host: ModuleHost) -> Result:
    """Return the result for a missing file. Raises ModuleFailure in a run."""
    if host.check:
        return {"changed": True, "unknown": f"{path} is created by an earlier task"}
    raise ModuleFailure(
        f"Destination {path} does not exist !  Set create: true, or make it first", rc=257
    )


def pattern(text: str, option: str) -> re.Pattern[bytes]:
    """Return the compiled expression of an option. Raises ModuleFailure with its error."""
    try:
        return re.compile(text.encode())
    except re.error as error:
        raise ModuleFailure(f"{option} is not a regular expression: {error}: {text}") from None


def without_lines(lines: list[bytes], args: dict[str, Any]) -> tuple[list[bytes], int]:
    """Return the lines that stay, and how many do not."""
    find = _make_finder(args) or _find_exact(args["line"])
    kept = [line for line in lines if not find(line)]
    return kept, len(lines) - len(kept)


def with_line(lines: list[bytes], args: dict[str, Any]) -> tuple[list[bytes], str]:
    """Return the lines with the requested line, and the action: replaced, added or none."""
    wanted: bytes = args["line"].encode()
    find = _make_finder(args)
    index, match = _search(lines, find, args["firstmatch"]) if find else (None, None)
    if index is not None:
        if args["backrefs"] and isinstance(match, re.Match):
            wanted = match.expand(wanted)
        return _replace_line(lines, index, wanted)
    exact, anchor = _place(lines, args)
    if exact is not None:
        return _replace_line(lines, exact, wanted)
    if args["backrefs"]:
        return lines, ""  # without a match, references have no values
    at = len(lines) if anchor is None else anchor
    if at and at == len(lines) and not lines[-1].endswith((b"\n", b"\r")):
        lines = [*lines[:-1], lines[-1] + b"\n"]
    if at < len(lines) and args["insertafter"] and lines[at].rstrip(b"\r\n") == wanted:
        return lines, ""  # firstmatch stopped the search just before it
    return [*lines[:at], wanted.rstrip(b"\n") + b"\n", *lines[at:]], "line added"


def _replace_line(lines: list[bytes], index: int, wanted: bytes) -> tuple[list[bytes], str]:
    line = wanted if wanted.endswith(b"\n") else wanted + b"\n"
    if lines[index] == line:
        return lines, ""
    return [*lines[:index], line, *lines[index + 1 :]], "line replaced"


def _search(lines: list[bytes], find: Find, first: bool) -> tuple[int | None, Any]:
    """Return the first or the last line that `find` accepts."""
    result: tuple[int | None, Any] = (None, None)
    for index, line in enumerate(lines):
        match = find(line)
        if match:
            result = (index, match)
            if first:
                break
    return result


def _place(lines: list[bytes], args: dict[str, Any]) -> tuple[int | None, int | None]:
    """Return where the very line is already, and where else it goes (None: at the end)."""
    after, before = args["insertafter"], args["insertbefore"]
    if after == "BOF" or before == "BOF":
        anchor_at: int | None = 0
    else:
        anchor_at = None
    text = after if after not in (None, "BOF", "EOF") else before
    option = "insertafter" if text is after else "insertbefore"
    anchor = pattern(text, option) if text not in (None, "BOF", "EOF") else None
    same = _find_exact(args["line"])
    exact = None
    for index, line in enumerate(lines):
        if same(line):
            exact = index
        elif anchor is not None and anchor.search(line):
            anchor_at = index + (1 if option == "insertafter" else 0)
            if args["firstmatch"]:
                break
    return exact, anchor_at


def _make_finder(args: dict[str, Any]) -> Find | None:
    if args["regexp"] is not None:
        return pattern(args["regexp"], "regexp").search
    if args["search_string"] is not None:
        part = args["search_string"].encode()
        return lambda line: part in line
    return None


def _find_exact(text: str) -> Find:
    wanted = text.encode()
    return lambda line: line.rstrip(b"\r\n") == wanted


def _check(args: dict[str, Any]) -> None:
    if args["regexp"] is not None and args["search_string"] is not None:
        raise ModuleFailure("regexp and search_string exclude each other")
    if args["insertbefore"] is not None and args["insertafter"] is not None:
        raise ModuleFailure("insertbefore and insertafter exclude each other")
    if args["state"] == "present":
        if args["line"] is None:
            raise ModuleFailure("line is required with state=present")
        if args["backrefs"] and args["regexp"] is None:
            raise ModuleFailure("regexp is required with backrefs=true")
    elif all(args[name] is None for name in ("regexp", "search_string", "line")):
        raise ModuleFailure("one of line, search_string, or regexp is required with state=absent")


def _with_backup_path(result: Result) -> Result:
    result["backup"] = result.get("backup_file", "")
    return result
