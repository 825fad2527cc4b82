"""Changing files: whole, atomically, and only where something differs.

Every path is resolved by provision.remote.paths, so a user who controls a folder cannot lead a
change, a read or a new owner to a file outside of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import stat
import tempfile
import time
from typing import Any, Callable, Iterator

from provision.remote import systemd
from provision.remote.host import ModuleFailure, ModuleHost, Result
from provision.remote.modes import ATTRIBUTES, group_id, mode_bits, user_id
from provision.remote.paths import Place, failure, reach, via
from provision.remote.trust import RUN_FOLDER, is_private, open_private

__all__ = ["ATTRIBUTES", "apply_attributes", "put_content", "read_bytes", "write_bytes"]

DIFF_LIMIT = 100_000  # bytes of a file that a diff shows; Ansible's own limit is 104448
SHARED_LIMIT = 1 << 30  # bytes read of a file in another user's folder: it may be sparse
MISSING = (errno.ENOENT, errno.ENOTDIR)


def look_up(path: str, follow: bool = True, reading: bool = False) -> os.stat_result | None:
    """Return what stat reports of a path, or lstat without follow; None where nothing is there."""
    try:
        with reach(path, follow, reading) as place:
            return place.info
    except OSError as error:
        if error.errno in MISSING:
            return None
        raise failure("look at", path, error) from None


def is_folder(path: str) -> bool:
    """Return whether a path leads to a folder."""
    info = look_up(path)
    return info is not None and stat.S_ISDIR(info.st_mode)


def is_file(path: str) -> bool:
    """Return whether a path leads to a regular file."""
    info = look_up(path)
    return info is not None and stat.S_ISREG(info.st_mode)


def resolve(path: str) -> str:
    """Return the path without symlinks, as os.path.realpath; raises UnsafePath."""
    try:
        with reach(path) as place:
            return place.path
    except OSError as error:
        if error.errno in MISSING:
            return os.path.realpath(path)
        raise failure("look at", path, error) from None


def read_bytes(path: str, follow: bool = True, reading: bool = False) -> bytes | None:
    """Return a file's content, or None where nothing is there; raises ModuleFailure.

    Without follow, a symlink at the end of the path has no content. reading: see paths.reach.
    """
    try:
        with reach(path, follow, reading) as place:
            if place.node is None or place.is_kind(stat.S_ISLNK):
                return None
            return read_place(place, reading)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise failure("read", path, error) from None


def read_place(place: Place, reading: bool = False) -> bytes:
    """Return the content of the regular file at a place; raises ModuleFailure and OSError."""
    limit = -1 if is_private(place.folder.info) else SHARED_LIMIT
    with os.fdopen(place.open_file(reading=reading), "rb") as stream:
        if 0 <= limit < os.fstat(stream.fileno()).st_size:
            raise ModuleFailure(
                f"{place.path} is larger than {limit >> 20} MiB, the most that is read of a file "
                "in a folder that other users control",
                path=place.path,
            )
        return stream.read(limit)


def write_bytes(
    path: str,
    content: bytes,
    inspect: Callable[[str], None] | None = None,
    follow: bool = True,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Replace a file in one step (a reader sees the old or the new), keeping owner and mode.

    Only the owner of a file that another user put into a folder like /tmp is not kept.
    The mode, owner and group in `attributes` are set before the first byte is written: a secret is
    never readable by others, not even for an instant.
    `inspect` gets the path of a copy in a private folder before the new file takes the old one's
    place, and raises where it must not. A symlink is written through, as Ansible's editors do, or,
    without follow, replaced. Raises ModuleFailure with the reason: the folder is missing, the file
    system is read-only or full, the path is unsafe.
    """
    try:
        with reach(path, follow) as place:
            replace_file(place, content, inspect, attributes or {})
    except OSError as error:
        folder = os.path.dirname(os.path.abspath(path))
        if error.errno in MISSING and look_up(folder) is None:
            raise ModuleFailure(f"the folder {folder} does not exist", path=path) from None
        raise failure("write", path, error) from None


def replace_file(
    place: Place,
    content: bytes,
    inspect: Callable[[str], None] | None,
    attributes: dict[str, Any],
) -> None:
    """Put a new file with `content` at a place; raises ModuleFailure and OSError."""
    old = None if place.is_kind(stat.S_ISLNK) else place.info
    if old is not None:
        place.refuse_special()
        place.refuse_hard_link()
    uid, gid, bits = _ownership(old, attributes)
    if place.is_planted() and not attributes.get("owner"):
        uid, gid, bits = os.geteuid(), os.getegid(), bits & _ownership(None, {})[2]
    if inspect:
        with _private_copy(content, uid, gid, bits) as copy:
            inspect(copy)
    with _scratch_file(place) as (stream, rename):
        set_ownership(stream.fileno(), uid, gid, bits)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        rename(place.name)


@contextlib.contextmanager
def _scratch_file(place: Place) -> Iterator[Any]:
    """Create a file of mode 0600 beside a place; yield it, and a function that renames it."""
    folder = place.folder.fd
    name: str | None = f".deeprig-{os.urandom(8).hex()}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    stream = os.fdopen(os.open(str(name), flags, 0o600, dir_fd=folder), "wb")

    def rename(target: str) -> None:
        nonlocal name
        os.rename(str(name), target, src_dir_fd=folder, dst_dir_fd=folder)
        name = None

    try:
        with stream:
            yield stream, rename
    finally:
        if name is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _private_copy(content: bytes, uid: int, gid: int, bits: int) -> Iterator[str]:
    """Yield the path of a file that no other user can replace, with this owner and mode."""
    folder = private_folder()
    try:
        path = os.path.join(folder, "new")
        with open(path, "xb") as stream:
            set_ownership(stream.fileno(), uid, gid, bits)
            stream.write(content)
        yield path
    finally:
        shutil.rmtree(folder)


def private_folder() -> str:
    """Create a folder that only this process's user enters; the caller removes it."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.close(open_private(RUN_FOLDER))
            return tempfile.mkdtemp(prefix="new-", dir=RUN_FOLDER)
    return tempfile.mkdtemp(prefix="deeprig-")


def _ownership(old: os.stat_result | None, attributes: dict[str, Any]) -> tuple[int, int, int]:
    """Return uid, gid (-1: as created) and mode of a new file: the requested, or the old one's."""
    if old is not None:
        uid, gid, bits = old.st_uid, old.st_gid, stat.S_IMODE(old.st_mode)
    else:
        mask = os.umask(0)
        os.umask(mask)
        uid, gid, bits = -1, -1, 0o666 & ~mask
    if attributes.get("owner"):
        uid = user_id(attributes["owner"])
    if attributes.get("group"):
        gid = group_id(attributes["group"])
    if attributes.get("mode"):
        bits = mode_bits(attributes["mode"], bits)
    return uid, gid, bits


def set_ownership(fd: int, uid: int, gid: int, bits: int) -> None:
    """Set owner and mode of an open file; -1 keeps an owner."""
    if (uid, gid) != (-1, -1):
        os.fchown(fd, uid, gid)
    os.fchmod(fd, bits)


def backup(path: str, follow: bool = True) -> str:
    """Copy a file beside itself, as Ansible's `backup: true` names it; return the copy's path."""
    try:
        with reach(path, follow) as place:
            if place.info is None:  # another user has removed it meanwhile
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            name = f"{place.name}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~"
            content = read_place(place)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(name, flags, 0o600, dir_fd=place.folder.fd)
            with os.fdopen(fd, "wb") as stream:
                info = place.info
                set_ownership(fd, info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
                stream.write(content)
                stream.flush()
                os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
            return place.folder.child(name)
    except OSError as error:
        raise failure("back up", path, error) from None


def apply_attributes(
    host: ModuleHost, path: str, args: dict[str, Any], follow: bool = False
) -> bool:
    """Give a path the mode, owner and group that `args` name; True when something differed."""
    try:
        with reach(path, follow) as place:
            if place.node is None:
                return host.check  # an earlier task would have created it
            return apply_to_place(host, place, args)
    except OSError as error:
        if error.errno in MISSING:
            return host.check
        raise failure("change", path, error) from None


def apply_to_place(host: ModuleHost, place: Place, args: dict[str, Any]) -> bool:
    """Return the same for a place that is open; raises OSError."""
    info, node = place.info, place.node
    assert info is not None
    assert node is not None
    try:
        uid = user_id(args["owner"]) if args.get("owner") else info.st_uid
        gid = group_id(args["group"]) if args.get("group") else info.st_gid
    except ModuleFailure:
        if host.check:
            return True  # an earlier task would have created the user or group
        raise
    bits = stat.S_IMODE(info.st_mode)
    wanted = bits
    if args.get("mode") and not stat.S_ISLNK(info.st_mode):
        wanted = mode_bits(args["mode"], bits, stat.S_ISDIR(info.st_mode))
    if (uid, gid, wanted) == (info.st_uid, info.st_gid, bits):
        return False
    place.refuse_hard_link()
    if not host.check:
        if (uid, gid) != (info.st_uid, info.st_gid):
            os.chown(via(node), uid, gid)
        if wanted != bits:
            os.chmod(via(node), wanted)
    return True


def text_diff(path: str, before: bytes | None, after: bytes | None) -> dict[str, str]:
    """Return a `diff` result of a file's content; binary and long files are named, not shown."""

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
    host: ModuleHost, path: str, content: bytes, args: dict[str, Any], follow: bool = True
) -> Result:
    """Make `path` a file with `content` and attributes, as copy, template and the editors need it.

    Honours check mode, diff, and in args `backup` and `validate` (a command whose %s is the new
    file). Without follow, a symlink at `path` is replaced by a file.
    """
    before = read_bytes(path, follow)
    is_link = not follow and before is None and _is_link(path)
    result: Result = {"changed": False, "dest": path}
    if before != content or is_link:
        result["changed"] = True
        if host.diff:
            result["diff"] = text_diff(path, before, content)
        if not host.check:
            if args.get("backup") and before is not None:
                result["backup_file"] = backup(path, follow)
            write_bytes(path, content, inspector(host, args.get("validate")), follow, args)
            systemd.forget_units_if_watched(host, path)
        elif before is None and not is_folder(os.path.dirname(path) or "."):
            result["unknown"] = "its folder is created by an earlier task"
    if apply_attributes(host, path, args, follow):
        result["changed"] = True
    return result


def _is_link(path: str) -> bool:
    info = look_up(path, follow=False)
    return info is not None and stat.S_ISLNK(info.st_mode)


def inspector(host: ModuleHost, validate: str | None) -> Callable[[str], None] | None:
    """Return a function that runs `validate` on a path and raises ModuleFailure on failure."""
    if not validate:
        return None
    if "%s" not in validate:
        raise ModuleFailure(f"validate must contain %s, where the new file's path goes: {validate}")
    command = validate

    def inspect(scratch: str) -> None:
        host.require(shlex.split(command.replace("%s", scratch)), "validating the new content")

    return inspect
