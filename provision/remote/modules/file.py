"""Files, folders and links and their attributes, as Ansible's file does.

Options of Ansible's that are not here: the formats of times other than now and preserve, SELinux,
`attributes`, `unsafe_writes`. Differs: a symlink, hard link or folder of another user is refused
where following it would change what is not that user's (provision/remote/paths.py).
"""

from __future__ import annotations

import os
import stat
from typing import Any, Callable

from provision.remote import systemd, trees
from provision.remote.files import (
    ATTRIBUTES,
    apply_attributes,
    apply_to_place,
    look_up,
    resolve,
)
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.stat import attributes_of, kind
from provision.remote.options import Option
from provision.remote.paths import Place, UnsafePath, failure, reach, via

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


def run(args: dict[str, Any], host: ModuleHost) -> Result:
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
        path = resolve(path)
        before = kind(path)
    result: Result = {"changed": False, "path": path}
    if state in ("link", "hard", "touch"):
        result["dest"] = path
    result.update(MAKERS[state](path, before, args, host))
    if result["changed"]:
        systemd.forget_units_if_watched(host, path)
    if kind(path) != "absent":
        result.update(attributes_of(path))
    if host.check or state == "absent":
        result["state"] = state
    if host.diff and result["changed"]:
        result["diff"] = _diff(path, before, state)
    return result


def _file(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    if before == "absent" and host.check:
        return {"unknown": f"{path} is created by an earlier task"}
    if before not in ("file", "hard"):
        raise ModuleFailure(
            f"file ({path}) is {before}, cannot continue; to create it, use copy, or state: touch",
            path=path,
            state=before,
        )
    return {"changed": apply_attributes(host, path, args)}


def _touch(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    changed = before == "absent"
    if changed and not host.check:
        _attempt(path, _create_file)
    keep_access = args["access_time"] == "preserve"
    keep_modification = args["modification_time"] == "preserve"
    if not changed and not (keep_access and keep_modification):
        changed = True
        if not host.check:
            _attempt(path, lambda place: _set_times(place, keep_access, keep_modification))
    return {"changed": apply_attributes(host, path, args) or changed}


def _create_file(place: Place) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(place.name, flags, 0o666, dir_fd=place.folder.fd))


def _set_times(place: Place, keep_access: bool, keep_modification: bool) -> None:
    assert place.node is not None
    place.refuse_hard_link()
    before = os.fstat(place.node)
    os.utime(via(place.node))
    after = os.fstat(place.node)
    access = before.st_atime_ns if keep_access else after.st_atime_ns
    modified = before.st_mtime_ns if keep_modification else after.st_mtime_ns
    os.utime(via(place.node), ns=(access, modified))


def _directory(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    if before == "absent":
        if not host.check:
            trees.create_folders(host, path, args)
        return {"changed": True}
    if before != "directory":
        raise ModuleFailure(f"{path} already exists as a {before}", path=path, state=before)
    changed = apply_attributes(host, path, args)
    if args["recurse"]:
        changed = _attempt(path, lambda top: _apply_below(top, args, host)) or changed
    return {"changed": changed}


def _apply_below(top: Place, args: dict[str, Any], host: ModuleHost) -> bool:
    changed = False
    for place, _ in trees.walk(top, order=list):
        if args["follow"] and place.is_kind(stat.S_ISLNK):
            changed = _apply_to_target(place.path, args, host) or changed
        else:
            changed = apply_to_place(host, place, args) or changed
    return changed


def _apply_to_target(path: str, args: dict[str, Any], host: ModuleHost) -> bool:
    """Change what a symlink leads to, as Ansible does; a dangling one is left alone."""
    try:
        return look_up(path) is not None and apply_attributes(host, path, args, follow=True)
    except UnsafePath as refusal:
        raise UnsafePath(
            f"{refusal.msg}; or set follow: false, which changes the symlink itself", path=path
        ) from None


def _link(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    source = args["src"]
    if source is None and before == "link":
        source = _target(path)
    if source is None:
        raise ModuleFailure("src is required for creating new symlinks", path=path)
    source = os.path.expanduser(source)
    base = path if before == "directory" else os.path.dirname(path)
    exists = os.path.exists(os.path.join(base, source))
    if not exists and not args["force"]:
        if host.check:
            return {"changed": True, "unknown": f"{source} is created by an earlier task"}
        raise ModuleFailure(
            f"the link's target {source} does not exist; force: true links to it all the same",
            path=path,
            src=source,
        )
    _refuse_conversion(path, before, args, "symlink")
    changed = not (before == "link" and _target(path) == source)
    if changed and not host.check:
        _swap(path, lambda name, folder: os.symlink(source, name, dir_fd=folder))
    if look_up(path, args["follow"]) is not None and (not changed or not host.check):
        changed = apply_attributes(host, path, args, args["follow"]) or changed
    return {"changed": changed, "src": source}


def _target(path: str) -> str | None:
    """Return what a symlink holds; None where it is gone."""

    def read(place: Place) -> str | None:
        return os.readlink("", dir_fd=place.node) if place.is_kind(stat.S_ISLNK) else None

    target: str | None = _attempt(path, read, follow=False)
    return target


def _hard(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    source = args["src"]
    if source is None:
        if before != "hard":
            raise ModuleFailure("src is required for creating new hardlinks", path=path)
        source = path
    target = look_up(source)
    if target is None:
        if host.check:
            return {"changed": True, "unknown": f"{source} is created by an earlier task"}
        raise ModuleFailure(f"the hard link's source {source} does not exist", path=path)
    current = look_up(path, follow=False)
    changed = current is None or not os.path.samestat(current, target)
    if changed:
        _refuse_conversion(path, before, args, "hard link")
        if not host.check:
            _attempt(
                source,
                lambda origin: _swap(path, lambda name, at: _link_node(origin, name, at)),
            )
    if not changed or not host.check:
        changed = apply_attributes(host, path, args) or changed
    return {"changed": changed, "src": source}


def _link_node(origin: Place, name: str, folder: int) -> None:
    """Give the very file at a place another name."""
    assert origin.node is not None
    origin.refuse_special()
    origin.refuse_hard_link()
    os.link(via(origin.node), name, dst_dir_fd=folder, follow_symlinks=True)


def _absent(path: str, before: str, args: dict[str, Any], host: ModuleHost) -> Result:
    if before != "absent" and not host.check:
        trees.remove(path)
    return {"changed": before != "absent"}


MAKERS = {
    "file": _file,
    "touch": _touch,
    "directory": _directory,
    "link": _link,
    "hard": _hard,
    "absent": _absent,
}


def _refuse_conversion(path: str, before: str, args: dict[str, Any], wanted: str) -> None:
    if before == "directory" and args["force"] and _has_entries(path):
        raise ModuleFailure(f"the directory {path} is not empty, refusing to convert it", path=path)
    if before in ("directory", "file", "hard") and not args["force"]:
        raise ModuleFailure(
            f"refusing to convert from {before} to {wanted} for {path}; force: true allows it",
            path=path,
        )


def _has_entries(path: str) -> bool:
    def look(place: Place) -> bool:
        folder = place.open_folder()
        try:
            return bool(os.listdir(folder.fd))
        finally:
            os.close(folder.fd)

    return bool(_attempt(path, look, follow=False))


def _swap(path: str, create: Callable[[str, int], None]) -> None:
    """Create something under a scratch name and move it to a path in one step."""

    def swap(place: Place) -> None:
        folder = place.folder.fd
        scratch = f".deeprig-{os.urandom(8).hex()}"
        if place.is_kind(stat.S_ISDIR):
            os.rmdir(place.name, dir_fd=folder)
        create(scratch, folder)
        try:
            os.rename(scratch, place.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(scratch, dir_fd=folder)
            raise

    _attempt(path, swap, follow=False)


def _attempt(path: str, action: Callable[[Place], Any], follow: bool = True) -> Any:
    """Return what an action returns for the place of a path; raises ModuleFailure."""
    try:
        with reach(path, follow) as place:
            return action(place)
    except OSError as error:
        raise failure("change", path, error) from None


def _diff(path: str, before: str, after: str) -> dict[str, str]:
    return {
        "before": f"state: {before}\n",
        "after": f"state: {after}\n",
        "before_header": path,
        "after_header": path,
    }
