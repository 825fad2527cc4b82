"""Files, folders and links and their attributes, as Ansible's file does.

Options of Ansible's that are not here: the formats of times other than now and preserve, SELinux,
`attributes`, `unsafe_writes`.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import Any, Iterator

from provision.remote import systemd
from provision.remote.files import ATTRIBUTES, apply_attributes
from provision.remote.host import Host, ModuleFailure, Result
from provision.remote.modules.stat import attributes_of, kind
from provision.remote.options import Option

OPTIONS = {
    "path": Option("path", required=True, aliases=("dest", "name")),
    "state": Option(choices=("absent", "directory", "file", "hard", "link", "touch")),
    "src": Option("path"),
    "recurse": Option("bool", default=False),
    "force": Option("bool", default=False),
    "follow": Option("bool", default=True),
    "modification_time": Option(choices=("preserve", "now")),
    "access_time": Option(choices=("preserve", "now")),
    **ATTRIBUTES,
}


def run(args: dict[str, Any], host: Host) -> Result:
    """Return values: path, dest, state, and the attributes of what is there."""
    path = os.path.expanduser(args["path"])
    path = path.rstrip("/") or "/"
    before = kind(path)
    state = args["state"]
    if state is None:
        state = "directory" if args["recurse"] else before if before != "absent" else "file"
    if args["recurse"] and state != "directory":
        raise ModuleFailure("recurse option requires state to be 'directory'", path=path)
    if args["follow"] and before == "link" and state in ("file", "directory", "touch"):
        path = os.path.realpath(path)
        before = kind(path)
    result: Result = {"changed": False, "path": path}
    if state in ("link", "hard", "touch"):
        result["dest"] = path
    result.update(MAKERS[state](path, before, args, host))
    if result["changed"]:
        systemd.written(host, path)
    if kind(path) != "absent":
        result.update(attributes_of(path))
    if host.check or state == "absent":
        result["state"] = state
    if host.diff and result["changed"]:
        result["diff"] = _diff(path, before, state)
    return result


def _file(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    if before == "absent" and host.check:
        return {"unknown": f"{path} is made by an earlier task"}
    if before not in ("file", "hard"):
        raise ModuleFailure(
            f"file ({path}) is {before}, cannot continue; to make it, use copy, or state: touch",
            path=path,
            state=before,
        )
    return {"changed": apply_attributes(host, path, args)}


def _touch(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    changed = before == "absent"
    if changed and not host.check:
        _attempt(path, lambda: open(path, "ab").close())
    keep_access = args["access_time"] == "preserve"
    keep_modification = args["modification_time"] == "preserve"
    if not changed and not (keep_access and keep_modification):
        changed = True
        if not host.check:
            now = os.stat(path)
            os.utime(path)
            touched = os.stat(path)
            access = now.st_atime_ns if keep_access else touched.st_atime_ns
            modified = now.st_mtime_ns if keep_modification else touched.st_mtime_ns
            os.utime(path, ns=(access, modified))
    return {"changed": apply_attributes(host, path, args) or changed}


def _directory(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    if before == "absent":
        if not host.check:
            make_directories(host, path, args)
        return {"changed": True}
    if before != "directory":
        raise ModuleFailure(f"{path} already exists as a {before}", path=path, state=before)
    changed = apply_attributes(host, path, args)
    if args["recurse"]:
        for below in _below(path):
            target = os.path.realpath(below) if args["follow"] else below
            if os.path.lexists(target):
                changed = apply_attributes(host, target, args) or changed
    return {"changed": changed}


def _link(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    source = args["src"]
    if source is None and before == "link":
        source = os.readlink(path)
    if source is None:
        raise ModuleFailure("src is required for creating new symlinks", path=path)
    source = os.path.expanduser(source)
    base = path if before == "directory" else os.path.dirname(path)
    exists = os.path.exists(os.path.join(base, source))
    if not exists and not args["force"]:
        if host.check:
            return {"changed": True, "unknown": f"{source} is made by an earlier task"}
        raise ModuleFailure(
            f"the link's target {source} does not exist; force: true links to it all the same",
            path=path,
            src=source,
        )
    _refuse_conversion(path, before, args, "symlink")
    changed = not (before == "link" and os.readlink(path) == source)
    if changed and not host.check:
        _swap(path, before, lambda scratch: os.symlink(source, scratch))
    target = os.path.realpath(path) if args["follow"] else path
    if os.path.lexists(target) and (not changed or not host.check):
        changed = apply_attributes(host, target, args) or changed
    return {"changed": changed, "src": source}


def _hard(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    source = args["src"]
    if source is None:
        if before != "hard":
            raise ModuleFailure("src is required for creating new hardlinks", path=path)
        source = path
    if not os.path.exists(source):
        if host.check:
            return {"changed": True, "unknown": f"{source} is made by an earlier task"}
        raise ModuleFailure(f"the hard link's source {source} does not exist", path=path)
    changed = before == "absent" or not os.path.samestat(os.lstat(path), os.stat(source))
    if changed:
        _refuse_conversion(path, before, args, "hard link")
        if not host.check:
            _swap(path, before, lambda scratch: os.link(os.path.realpath(source), scratch))
    if not changed or not host.check:
        changed = apply_attributes(host, path, args) or changed
    return {"changed": changed, "src": source}


def _absent(path: str, before: str, args: dict[str, Any], host: Host) -> Result:
    if before != "absent" and not host.check:
        if before == "directory":
            _attempt(path, lambda: shutil.rmtree(path))
        else:
            _attempt(path, lambda: os.unlink(path))
    return {"changed": before != "absent"}


MAKERS = {
    "file": _file,
    "touch": _touch,
    "directory": _directory,
    "link": _link,
    "hard": _hard,
    "absent": _absent,
}


def make_directories(host: Host, path: str, args: dict[str, Any]) -> None:
    """Make a folder and those above it; each new one gets the attributes in `args`."""
    missing: list[str] = []
    current = os.path.abspath(path)
    while not os.path.isdir(current):
        missing.insert(0, current)
        current = os.path.dirname(current)
    for folder in missing:
        _attempt(folder, partial(os.mkdir, folder))
        apply_attributes(host, folder, args)


def _refuse_conversion(path: str, before: str, args: dict[str, Any], wanted: str) -> None:
    if before == "directory" and args["force"] and os.listdir(path):
        raise ModuleFailure(f"the directory {path} is not empty, refusing to convert it", path=path)
    if before in ("directory", "file", "hard") and not args["force"]:
        raise ModuleFailure(
            f"refusing to convert from {before} to {wanted} for {path}; force: true allows it",
            path=path,
        )


def _swap(path: str, before: str, make: Any) -> None:
    scratch = os.path.join(os.path.dirname(path), f".deeprig-{os.getpid()}.tmp")

    def swap() -> None:
        if os.path.lexists(scratch):
            os.unlink(scratch)
        if before == "directory":
            os.rmdir(path)
        make(scratch)
        os.rename(scratch, path)

    _attempt(path, swap)


def _below(path: str) -> Iterator[str]:
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            yield os.path.join(folder, name)


def _attempt(path: str, action: Any) -> None:
    try:
        action()
    except OSError as error:
        raise ModuleFailure(
            f"can't change {error.filename or path}: {error.strerror}", path=path
        ) from None


def _diff(path: str, before: str, after: str) -> dict[str, str]:
    return {
        "before": f"state: {before}\n",
        "after": f"state: {after}\n",
        "before_header": path,
        "after_header": path,
    }
