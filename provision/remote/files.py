"""Changing files: whole, atomically, and only where something differs."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
import time
from typing import Any, Callable

from provision.remote import systemd
from provision.remote.host import Host, ModuleFailure, Result
from provision.remote.options import Option

ATTRIBUTES = {
    "mode": Option("mode"),
    "owner": Option(),
    "group": Option(),
}

DIFF_LIMIT = 100_000  # bytes of a file that a diff shows; Ansible's own limit is 104448


def read_bytes(path: str) -> bytes | None:
    """A file's content, or None where there is none; raises ModuleFailure if it can't be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModuleFailure(f"can't read {path}: {error.strerror}", path=path) from None


def write_bytes(
    path: str,
    content: bytes,
    inspect: Callable[[str], None] | None = None,
    follow: bool = True,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Replace a file in one step (a reader sees the old or the new), keeping owner and mode.

    What `attributes` name (mode, owner, group) holds from the first moment: a secret is never
    readable by others, not even for an instant.
    `inspect` gets the path of the scratch file before it takes the old one's place, and raises
    where it must not. A symlink is written through, as Ansible's editors do, or, without follow,
    replaced. Raises ModuleFailure with the reason: no such folder, a read-only or full file system.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if follow:
        path = os.path.realpath(path)
    scratch = None
    try:
        handle, scratch = tempfile.mkstemp(prefix=".deeprig-", dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _dress(scratch, path, attributes or {})
        if inspect:
            inspect(scratch)
        os.rename(scratch, path)
        scratch = None
    except OSError as error:
        if not os.path.isdir(folder):
            raise ModuleFailure(f"the folder {folder} does not exist", path=path) from None
        raise ModuleFailure(f"can't write {path}: {error.strerror}", path=path) from None
    finally:
        if scratch and os.path.exists(scratch):
            os.unlink(scratch)


def _dress(scratch: str, path: str, attributes: dict[str, Any]) -> None:
    """Give a new file the owner and mode of the one it replaces, or those that are wanted."""
    try:
        old = os.stat(path)
        uid, gid, bits = old.st_uid, old.st_gid, stat.S_IMODE(old.st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        uid, gid, bits = -1, -1, 0o666 & ~mask
    if attributes.get("owner"):
        uid = user_id(attributes["owner"])
    if attributes.get("group"):
        gid = group_id(attributes["group"])
    if attributes.get("mode"):
        bits = mode_bits(attributes["mode"], bits)
    if (uid, gid) != (-1, -1):
        os.chown(scratch, uid, gid)
    os.chmod(scratch, bits)


def backup(path: str) -> str:
    """Copy a file beside itself, as Ansible's `backup: true` names it; its new path."""
    copy = f"{path}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~"
    shutil.copy2(path, copy)
    return copy


def user_id(name: str) -> int:
    """The uid of a user's name or number; raises ModuleFailure."""
    if name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ModuleFailure(f"there is no user '{name}'") from None


def group_id(name: str) -> int:
    """The gid of a group's name or number; raises ModuleFailure."""
    if name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ModuleFailure(f"there is no group '{name}'") from None


def mode_bits(mode: str, current: int, is_directory: bool = False) -> int:
    """A mode as chmod takes it ("0644", "u=rw,g=r,o=", "a+X") applied to the current bits."""
    if re.fullmatch(r"[0-7]{3,5}", mode):
        return int(mode, 8)
    bits = current
    for clause in mode.split(","):
        match = re.fullmatch(r"([ugoa]*)((?:[-+=][rwxXst]*)+)", clause.strip())
        if not match:
            raise ModuleFailure(
                f"'{mode}' is not a file mode: write it as \"0644\" or u=rw,g=r,o=r"
            )
        who = match.group(1) or "a"
        for action, letters in re.findall(r"([-+=])([rwxXst]*)", match.group(2)):
            bits = _symbolic(bits, who, action, letters, is_directory)
    return bits


def _symbolic(bits: int, who: str, action: str, letters: str, is_directory: bool) -> int:
    shifts = {"u": 6, "g": 3, "o": 0}
    classes = list(shifts) if "a" in who else [letter for letter in "ugo" if letter in who]
    execute = bits & 0o111 or is_directory
    mask = 0
    special = 0
    for letter in classes:
        value = sum({"r": 4, "w": 2, "x": 1}.get(c, 0) for c in letters)
        if "X" in letters and execute:
            value |= 1
        mask |= value << shifts[letter]
        if "s" in letters and letter in "ug":
            special |= stat.S_ISUID if letter == "u" else stat.S_ISGID
    if "t" in letters:
        special |= stat.S_ISVTX
    if action == "+":
        return bits | mask | special
    if action == "-":
        return bits & ~(mask | special)
    cleared = bits
    for letter in classes:
        cleared &= ~(0o7 << shifts[letter])
    return cleared | mask | special


def apply_attributes(host: Host, path: str, args: dict[str, Any]) -> bool:
    """Give a path the mode, owner and group that `args` name; True when something differed."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return host.check  # it would have been made by now
    changed = False
    link = stat.S_ISLNK(info.st_mode)
    try:
        uid = user_id(args["owner"]) if args.get("owner") else info.st_uid
        gid = group_id(args["group"]) if args.get("group") else info.st_gid
    except ModuleFailure:
        if host.check:
            return True  # an earlier task would have made the user or group by now
        raise
    try:
        if (uid, gid) != (info.st_uid, info.st_gid):
            changed = True
            if not host.check:
                os.chown(path, uid, gid, follow_symlinks=False)
        if args.get("mode") and not link:
            current = stat.S_IMODE(info.st_mode)
            wanted = mode_bits(args["mode"], current, stat.S_ISDIR(info.st_mode))
            if wanted != current:
                changed = True
                if not host.check:
                    os.chmod(path, wanted)
    except OSError as error:
        raise ModuleFailure(f"can't change {path}: {error.strerror}", path=path) from None
    return changed


def text_diff(path: str, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """A `diff` result of a file's content; binary and long files are named, not shown."""

    def shown(content: bytes | None) -> str:
        if content is None:
            return ""
        if len(content) > DIFF_LIMIT or b"\0" in content:
            return f"({len(content)} bytes)\n"
        return content.decode("utf-8", "replace")

    return {
        "before": shown(before),
        "after": shown(after),
        "before_header": path,
        "after_header": path,
    }


def put_content(
    host: Host, path: str, content: bytes, args: dict[str, Any], follow: bool = True
) -> Result:
    """Make `path` a file with `content` and attributes, as copy, template and the editors need it.

    Honours check mode, diff, and in args `backup` and `validate` (a command whose %s is the new
    file). Without follow, a symlink at `path` is replaced by a file.
    """
    before = read_bytes(path)
    result: Result = {"changed": False, "dest": path}
    if before != content or (os.path.islink(path) and not follow):
        result["changed"] = True
        if host.diff:
            result["diff"] = text_diff(path, before, content)
        if not host.check:
            if args.get("backup") and before is not None:
                result["backup_file"] = backup(path)
            write_bytes(path, content, inspector(host, args.get("validate")), follow, args)
            systemd.written(host, path)
        elif before is None and not os.path.isdir(os.path.dirname(path) or "."):
            result["unknown"] = "its folder is made by an earlier task"
    if apply_attributes(host, os.path.realpath(path) if follow else path, args):
        result["changed"] = True
    return result


def inspector(host: Host, validate: str | None) -> Callable[[str], None] | None:
    """What runs `validate` on a file's path and raises ModuleFailure unless it succeeds."""
    if not validate:
        return None
    if "%s" not in validate:
        raise ModuleFailure(f"validate must contain %s, where the new file's path goes: {validate}")
    command = validate

    def inspect(scratch: str) -> None:
        host.require(shlex.split(command.replace("%s", scratch)), "validating the new content")

    return inspect
