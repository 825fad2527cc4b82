"""Files by name, age, size and content, as Ansible's find lists them.

Differs: a symlink to another user's folder is skipped, as are hard links, and files too large to
read, in other users' folders. Not here: `get_attributes`, `exact_mode`, `mode`, `encoding`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import time
from typing import Any, Iterator

from provision.remote import trees
from provision.remote.files import read_place
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.stat import PERMISSIONS, TYPES, checksum_of_place, owner_names
from provision.remote.options import Option
from provision.remote.paths import Place, UnsafePath, reach

OPTIONS = {
    "paths": Option("list", required=True, aliases=("name", "path"), elements="path"),
    "patterns": Option("list", default=[], aliases=("pattern",)),
    "excludes": Option("list", default=[], aliases=("exclude",)),
    "use_regex": Option("bool", default=False),
    "file_type": Option(default="file", choices=("any", "directory", "file", "link")),
    "recurse": Option("bool", default=False),
    "depth": Option("int"),
    "hidden": Option("bool", default=False),
    "follow": Option("bool", default=False),
    "contains": Option(),
    "read_whole_file": Option("bool", default=False),
    "age": Option(),
    "age_stamp": Option(default="mtime", choices=("atime", "ctime", "mtime")),
    "size": Option(),
    "get_checksum": Option("bool", default=False),
    "checksum_algorithm": Option(
        default="sha1", choices=("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
    ),
    "limit": Option("int"),
}

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
BYTES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: files (as stat describes them), matched, examined, skipped_paths, msg."""
    age = parse_amount(args["age"], SECONDS, "age")
    size = parse_amount(args["size"], BYTES, "size")
    files: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    examined = 0
    for top in args["paths"]:
        top = os.path.expanduser(os.path.expandvars(top))
        for path, place, depth in walk(top, args, skipped):
            examined += 1
            if args["depth"] and depth > args["depth"]:
                continue
            entry = describe(path, place, args, age, size, skipped)
            if entry:
                files.append(entry)
                if args["limit"] and len(files) >= args["limit"]:
                    break
    msg = "Not all paths examined, check warnings for details" if skipped else "All paths examined"
    return {
        "changed": False,
        "files": files,
        "matched": len(files),
        "examined": examined,
        "skipped_paths": skipped,
        "msg": msg,
    }


def walk(
    top: str, args: dict[str, Any], skipped: dict[str, str]
) -> Iterator[tuple[str, Place, int]]:
    """Yield every path below `top`, the open place there, and its depth.

    With follow, a symlink to a folder is entered, unless it leads to another user's folder.
    """
    tops = [(top, 0)]
    seen: set[tuple[int, int]] = set()

    def enter(place: Place, depth: int) -> bool:
        if not args["recurse"] or (args["depth"] and depth + above >= args["depth"]):
            return False
        return args["hidden"] or not place.name.startswith(".")

    while tops:
        shown, above = tops.pop(0)
        try:
            with reach(shown) as start:
                if not start.is_kind(stat.S_ISDIR):
                    if shown == top:
                        skipped[shown] = f"'{shown}' is not a directory"
                    continue
                assert start.info is not None
                if (start.info.st_dev, start.info.st_ino) in seen:
                    continue
                seen.add((start.info.st_dev, start.info.st_ino))
                for place, depth in trees.walk(start, into=enter):
                    path = os.path.join(shown, os.path.relpath(place.path, start.path))
                    yield path, place, depth + above
                    if args["follow"] and place.is_kind(stat.S_ISLNK) and enter(place, depth):
                        tops.append((path, depth + above))
        except UnsafePath as refusal:
            skipped[shown] = refusal.msg
        except (FileNotFoundError, NotADirectoryError):
            if shown == top:
                skipped[shown] = f"'{shown}' is not a directory"
        except OSError as error:
            skipped[str(error.filename or shown)] = str(error.strerror)


def describe(
    path: str,
    place: Place,
    args: dict[str, Any],
    age: float | None,
    size: float | None,
    skipped: dict[str, str],
) -> dict[str, Any] | None:
    """Return a path's entry in `files`, or None where it does not match."""
    name = os.path.basename(path)
    if (name.startswith(".") and not args["hidden"]) or not _has_wanted_name(name, args):
        return None
    info = place.info
    assert info is not None
    mode = info.st_mode
    kinds = {"file": stat.S_ISREG, "directory": stat.S_ISDIR, "link": stat.S_ISLNK}
    if args["file_type"] != "any" and not kinds[args["file_type"]](mode):
        return None
    since = time.time() - getattr(info, f"st_{args['age_stamp']}")
    if not _is_beyond(since, age):
        return None
    entry: dict[str, Any] = {"path": path, "mode": format(stat.S_IMODE(mode), "04o")}
    try:
        if stat.S_ISREG(mode) and not (
            _is_beyond(info.st_size, size) and _has_wanted_content(place, args)
        ):
            return None
        if args["get_checksum"] and stat.S_ISREG(mode):
            entry["checksum"] = checksum_of_place(place, args["checksum_algorithm"])
    except ModuleFailure as refusal:
        skipped[path] = refusal.msg
        return None
    for field in ("uid", "gid", "size", "dev", "nlink", "atime", "mtime", "ctime"):
        entry[field] = getattr(info, f"st_{field}")
    entry["inode"] = info.st_ino
    entry.update({kind: test(mode) for kind, test in TYPES.items()})
    entry.update({flag: bool(mode & bit) for flag, bit in PERMISSIONS.items()})
    entry.update({"pw_name": "", "gr_name": "", **owner_names(info)})
    return entry


def parse_amount(text: str | None, units: dict[str, int], option: str) -> float | None:
    """Return a number with a unit ("2w", "-10m"); raises ModuleFailure."""
    if text is None:
        return None
    match = re.fullmatch(r"(-?\d+)([a-z]?)", text.strip().lower())
    if not match or (match.group(2) and match.group(2) not in units):
        raise ModuleFailure(f"failed to process {option}: '{text}' is not a number with a unit")
    return int(match.group(1)) * units[match.group(2) or next(iter(units))]


def _is_beyond(value: float, limit: float | None) -> bool:
    """At least the limit, or, where it is negative, at most."""
    if limit is None:
        return True
    return value >= limit if limit >= 0 else value <= -limit


def _has_wanted_name(name: str, args: dict[str, Any]) -> bool:
    def matches(pattern: str) -> bool:
        if args["use_regex"]:
            return bool(re.match(pattern, name))
        return fnmatch.fnmatch(name, pattern)

    patterns = args["patterns"] or [".*" if args["use_regex"] else "*"]
    return any(map(matches, patterns)) and not any(map(matches, args["excludes"]))


def _has_wanted_content(place: Place, args: dict[str, Any]) -> bool:
    if args["contains"] is None:
        return True
    wanted = re.compile(args["contains"])
    try:
        text = read_place(place, reading=True).decode("utf-8", "replace")
    except OSError:
        return False
    if args["read_whole_file"]:
        return bool(wanted.search(text))
    return any(wanted.match(line) for line in text.splitlines(True))
