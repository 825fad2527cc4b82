"""Put a file or a tree in place, as Ansible's copy does (its template arrives here as well).

The operator's side reads a local `src` and sends what it holds: `content` or, for bytes,
`content_base64`, with `_original_basename` for a `dest` that is a folder; a tree is sent as
`files`, a list of {path, content_base64, mode}, or {path, directory: true} for an empty folder.
A `src` that arrives is on the rig (`remote_src`). Not here: `checksum`, `decrypt`, `local_follow`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from typing import Any, TypedDict, cast

from provision.remote import trees
from provision.remote.files import (
    ATTRIBUTES,
    MISSING,
    apply_attributes,
    is_folder,
    look_up,
    put_content,
    read_bytes,
    resolve,
)
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modules.stat import attributes_of
from provision.remote.options import Option
from provision.remote.paths import failure, reach

OPTIONS = {
    "dest": Option("path", required=True),
    "src": Option("path"),
    "content": Option("raw"),
    "remote_src": Option("bool", default=False),
    "backup": Option("bool", default=False),
    "force": Option("bool", default=True),
    "follow": Option("bool", default=False),
    "directory_mode": Option("mode"),
    "validate": Option(),
    **ATTRIBUTES,
    "content_base64": Option(),
    "files": Option("list", elements="dict"),
    "_original_basename": Option(),
}
# What the operator's side fills in; a playbook has no use for them.
INTERNAL = ("content_base64", "files", "_original_basename")


class _EntryPath(TypedDict):
    path: str


class TreeEntry(_EntryPath, total=False):
    """A place in a tree, by its relative path: a folder, a link's target, or a file's content.

    source: the path of a file on the rig instead of its content. mode: octal, as text.
    """

    directory: bool
    link: str
    content: bytes
    source: str
    mode: str


def run(args: dict[str, Any], host: ModuleHost) -> Result:
    """Return values: dest, checksum (sha1), size, mode, owner, group, backup_file."""
    dest = os.path.expanduser(args["dest"])
    if args["files"] is not None:
        entries = [_decode_sent(entry) for entry in args["files"]]
        return copy_tree(host, dest, entries, args)
    if args["content"] is None and args["content_base64"] is None:
        if args["src"] is None:
            raise ModuleFailure("copy needs src or content")
        return copy_remote(host, os.path.expanduser(args["src"]), dest, args)
    if args["content_base64"] is not None:
        content = base64.b64decode(args["content_base64"])
    else:
        content = text_of(args["content"]).encode()
    return copy_file(host, dest, content, args["_original_basename"], args)


def text_of(content: Any) -> str:
    """Return the text for `content`, as Ansible: text as it is, a structure as JSON."""
    if isinstance(content, str):
        return content
    import json

    return json.dumps(content)


def copy_remote(host: ModuleHost, source: str, dest: str, args: dict[str, Any]) -> Result:
    """Copy a file or a tree that is on the rig."""
    if is_folder(source):
        if not source.endswith("/"):
            dest = os.path.join(dest, os.path.basename(source))
        return copy_tree(host, dest, tree_of(source), args)
    content = read_bytes(source, reading=True)
    info = look_up(source, reading=True)
    if content is None or info is None:
        if host.check:
            return {"changed": True, "unknown": f"{source} is created by an earlier task"}
        raise ModuleFailure(f"Source {source} not found", src=source)
    if args["mode"] == "preserve":
        args = {**args, "mode": format(stat.S_IMODE(info.st_mode), "04o")}
    result = copy_file(host, dest, content, os.path.basename(source), args)
    return {**result, "src": source}


def copy_file(
    host: ModuleHost, dest: str, content: bytes, basename: str | None, args: dict[str, Any]
) -> Result:
    """Write one file; a `dest` that is a folder, or ends with a slash, gets it under `basename`."""
    if args["mode"] == "preserve":
        raise ModuleFailure("mode: preserve needs a src to take the mode from")
    made = False
    if dest.endswith("/") or is_folder(dest):
        if not basename:
            raise ModuleFailure(
                f"can not use content with a dir as dest: {dest}; name the file", dest=dest
            )
        folder, dest = dest, os.path.join(dest, basename)
        if not is_folder(folder):
            made = True
            if not host.check:
                trees.create_folders(host, folder, {**args, "mode": args["directory_mode"]})
    elif not is_folder(os.path.dirname(dest) or ".") and not host.check:
        raise ModuleFailure(f"Destination directory {os.path.dirname(dest)} does not exist")
    if not args["force"] and look_up(dest) is not None:
        return {"changed": False, "dest": dest, "msg": "file already exists"}
    result = put_content(host, dest, content, args, follow=args["follow"])
    if made:
        result["changed"] = True
        result.pop("unknown", None)
    result["checksum"] = hashlib.sha1(content).hexdigest()
    if look_up(dest) is not None:
        result.update(attributes_of(resolve(dest)))
    return result


def tree_of(source: str) -> list[TreeEntry]:
    """Everything below a folder: relative path, and content or target or `directory`."""
    entries: list[TreeEntry] = []
    try:
        with reach(source) as top:
            for place, _ in trees.walk(top):
                assert place.info is not None
                entry: TreeEntry = {"path": os.path.relpath(place.path, top.path)}
                if place.is_kind(stat.S_ISLNK):
                    entry["link"] = os.readlink("", dir_fd=place.node)
                elif place.is_kind(stat.S_ISDIR):
                    entry["directory"] = True
                else:
                    place.refuse_special()
                    entry["source"] = place.path
                if "link" not in entry:
                    entry["mode"] = format(stat.S_IMODE(place.info.st_mode), "04o")
                entries.append(entry)
    except OSError as error:
        raise failure("read", source, error) from None
    return entries


def copy_tree(
    host: ModuleHost, dest: str, entries: list[TreeEntry], args: dict[str, Any]
) -> Result:
    """Make every entry exist below `dest`; what else is there stays."""
    changed = False
    folders = {**args, "mode": args["directory_mode"]}
    seen: set[str] = set()
    diffs = []
    top: TreeEntry = {"path": "", "directory": True}
    for entry in [top, *entries]:
        path = os.path.join(dest, entry["path"]) if entry["path"] else dest.rstrip("/")
        if os.path.isabs(entry["path"]) or ".." in entry["path"].split("/"):
            raise ModuleFailure(f"a path in a tree must lie inside it: {entry['path']}")
        if entry.get("directory"):
            changed |= _folder(host, path, folders)
        elif "link" in entry:
            changed |= _link(host, path, entry["link"])
        else:
            parent = os.path.dirname(path)
            if parent not in seen:
                changed |= _folder(host, parent, folders, attributes=False)
                seen.add(parent)
            result = _tree_file(host, path, entry, args)
            changed |= result["changed"]
            diffs += [result["diff"]] if "diff" in result else []
    answer: Result = {"changed": changed, "dest": dest}
    if args["src"]:
        answer["src"] = args["src"]
    if diffs:
        answer["diff"] = diffs
    if is_folder(dest):
        answer.update(attributes_of(dest.rstrip("/")))
    return answer


def _tree_file(host: ModuleHost, path: str, entry: TreeEntry, args: dict[str, Any]) -> Result:
    if not args["force"] and look_up(path) is not None:
        return {"changed": False}
    content = entry["content"] if "content" in entry else read_bytes(entry["source"], follow=False)
    if content is None:
        raise ModuleFailure(f"{entry['source']} was removed or replaced while it was copied")
    mode = args["mode"]
    if mode == "preserve":
        mode = entry.get("mode")
    elif mode is None and "source" in entry and look_up(path) is None:
        # A copy on the rig carries its modes along; what is sent gets them from the umask.
        mode = entry.get("mode")
    return put_content(host, path, content, {**args, "mode": mode}, follow=args["follow"])


def _folder(host: ModuleHost, path: str, folders: dict[str, Any], attributes: bool = True) -> bool:
    if is_folder(path):
        # directory_mode is for new folders only.
        return attributes and apply_attributes(host, path, {**folders, "mode": None})
    if not host.check:
        trees.create_folders(host, path, folders)
    return True


def _link(host: ModuleHost, path: str, target: str) -> bool:
    try:
        with reach(path, follow=False) as place:
            if place.is_kind(stat.S_ISLNK) and os.readlink("", dir_fd=place.node) == target:
                return False
            if not host.check:
                if place.node is not None:
                    os.unlink(place.name, dir_fd=place.folder.fd)
                os.symlink(target, place.name, dir_fd=place.folder.fd)
    except OSError as error:
        if not host.check or error.errno not in MISSING:
            raise failure("write", path, error) from None
    return True


def _decode_sent(sent: dict[str, Any]) -> TreeEntry:
    entry = dict(sent)
    if "content_base64" in entry:
        entry["content"] = base64.b64decode(entry.pop("content_base64"))
    elif not entry.get("directory"):
        raise ModuleFailure(f"an entry of a tree has no content: {entry.get('path')}")
    return cast(TreeEntry, entry)
