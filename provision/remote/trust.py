"""Whom root trusts with names in folders, and who controls a symlink."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat

#: Of root's alone: the lock of a run, and files that a command reads by their path.
RUN_FOLDER = "/run/deeprig"
ANYBODY = -1  # in place of a uid: several users could have placed a symlink


def trusted_owners() -> tuple[int, int]:
    """Return the users whose folders and symlinks are trusted: root, and this process's own."""
    return (0, os.geteuid())


def is_private(info: os.stat_result) -> bool:
    """Return whether only trusted users can add, rename and remove names in a folder."""
    if info.st_uid not in trusted_owners() or info.st_mode & stat.S_IWOTH:
        return False
    return not info.st_mode & stat.S_IWGRP or _is_trusted_group(info.st_gid)


def _is_trusted_group(gid: int) -> bool:
    """Return whether a group has no members but trusted users."""
    if gid == 0:
        return True
    users = trusted_owners()
    try:
        members = grp.getgrgid(gid).gr_mem
    except KeyError:
        members = []
    ids = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid}
    ids.update(entry.pw_uid for entry in pwd.getpwall() if entry.pw_name in members)
    return all(uid in users for uid in ids)


def is_public_file(info: os.stat_result) -> bool:
    """Return whether every user can read a regular file."""
    return stat.S_ISREG(info.st_mode) and bool(info.st_mode & stat.S_IROTH)


def user_name(uid: int) -> str:
    """Return how messages name a user."""
    if uid == ANYBODY:
        return "more than one user"
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def link_controller(link: os.stat_result, folder: os.stat_result) -> int | None:
    """Return the user who may have placed a symlink in a folder; None: a trusted one."""
    if link.st_uid not in trusted_owners():
        return link.st_uid
    if folder.st_uid not in trusted_owners():
        return folder.st_uid  # who can move a trusted user's link there from another folder
    if is_private(folder) or folder.st_mode & stat.S_ISVTX:
        return None
    return ANYBODY


def open_private(folder: str) -> int:
    """Open a folder that only this process's user may enter; it is created where missing.

    Raises OSError, also for a symlink, and for a folder of another user.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    info = os.fstat(fd)
    if info.st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(errno.EPERM, f"belongs to {user_name(info.st_uid)}", folder)
    if stat.S_IMODE(info.st_mode) & 0o077:
        os.fchmod(fd, 0o700)
    return fd
