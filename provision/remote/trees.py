"""Folders and what is in them, by descriptors: create, list, walk and remove.

Nothing here follows a symlink below the folder that it starts from.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Any, Iterator

from provision.remote.files import MISSING, apply_to_place, is_folder
from provision.remote.host import ModuleFailure, ModuleHost
from provision.remote.paths import FOLDER, NODE, Folder, Place, failure, reach

FOLDER_TO_LIST = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
#: Errors of removing a name that another process fills or replaces meanwhile.
REPLACED = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
MOST_DEPTH = 200  # folders that are open at once
MOST_ATTEMPTS = 50  # of removing a folder to which another process adds files


def create_folders(host: ModuleHost, path: str, args: dict[str, Any]) -> None:
    """Create a folder and those above it; each new one gets the attributes in `args`."""
    missing: list[str] = []
    current = os.path.abspath(path)
    while not is_folder(current):
        missing.insert(0, current)
        current = os.path.dirname(current)
    for folder in missing:
        try:
            _create(host, folder, args)
        except OSError as error:
            raise failure("create the folder", folder, error) from None


def _create(host: ModuleHost, path: str, args: dict[str, Any]) -> None:
    with reach(path) as place:
        os.mkdir(place.name, dir_fd=place.folder.fd)
        node = os.open(place.name, FOLDER, dir_fd=place.folder.fd)
        new = Place(place.folder, place.name, node, os.fstat(node))
        try:
            if os.fstat(node).st_uid != os.geteuid():
                raise ModuleFailure(
                    f"{path} was replaced while it was created; another process works on "
                    f"{place.folder.path}",
                    path=path,
                )
            apply_to_place(host, new, args)
        finally:
            os.close(node)


def walk(top: Place, order: Any = sorted, into: Any = None) -> Iterator[tuple[Place, int]]:
    """Yield everything below a folder and its depth (1: in the folder itself), folders first seen.

    into(place, depth): whether to enter a folder; it is asked after the folder was yielded.
    Each place is open until the next one is asked for. Raises OSError with the path.
    """
    opened: list[tuple[Folder, Iterator[str]]] = []

    def enter(place: Place) -> None:
        if len(opened) >= MOST_DEPTH:
            raise OSError(errno.ENAMETOOLONG, f"more than {MOST_DEPTH} nested folders", place.path)
        try:
            folder = place.open_folder()
        except OSError as error:
            raise OSError(error.errno, error.strerror, place.path) from None
        opened.append((folder, iter(order(os.listdir(folder.fd)))))

    try:
        enter(top)
        while opened:
            folder, names = opened[-1]
            name = next(names, None)
            if name is None:
                os.close(opened.pop()[0].fd)
                continue
            try:
                node = os.open(name, NODE, dir_fd=folder.fd)
            except FileNotFoundError:
                continue  # removed since the folder was listed
            try:
                place = Place(folder, name, node, os.fstat(node))
                depth = len(opened)
                yield place, depth
                if place.is_kind(stat.S_ISDIR) and (into is None or into(place, depth)):
                    enter(place)
            finally:
                os.close(node)
    finally:
        for folder, _ in opened:
            os.close(folder.fd)


def remove(path: str) -> None:
    """Remove a file, a symlink or a folder with all that is in it; raises ModuleFailure."""
    try:
        with reach(path, follow=False) as place:
            if place.node is None:
                return
            if not place.is_kind(stat.S_ISDIR):
                os.unlink(place.name, dir_fd=place.folder.fd)
                return
            folder = place.open_folder()
            try:
                _empty_folder(folder)
            finally:
                os.close(folder.fd)
            os.rmdir(place.name, dir_fd=place.folder.fd)
    except OSError as error:
        if error.errno not in MISSING:
            raise failure("remove", path, error) from None


def _empty_folder(top: Folder) -> None:
    """Remove all that is in a folder, however deep, with two folders open at a time.

    What is in a subfolder is moved up before the subfolder is removed.
    """
    attempts = 0
    while True:
        names = os.listdir(top.fd)
        if not names:
            return
        for name in names:
            try:
                if _unlink_or_rmdir(top, name):
                    continue
                _move_up(top, name)
                os.rmdir(name, dir_fd=top.fd)
            except FileNotFoundError:
                continue
            except OSError as error:
                attempts += 1
                if error.errno not in REPLACED or attempts > MOST_ATTEMPTS:
                    raise OSError(error.errno, error.strerror, top.child(name)) from None


def _move_up(top: Folder, name: str) -> None:
    """Move what is in a subfolder into the folder itself, but remove it where that is possible."""
    fd = os.open(name, FOLDER_TO_LIST, dir_fd=top.fd)
    try:
        folder = Folder(fd, os.fstat(fd), top.child(name))
        for below in os.listdir(fd):
            with contextlib.suppress(FileNotFoundError):
                if not _unlink_or_rmdir(folder, below):
                    up = f".deeprig-{os.urandom(8).hex()}"
                    os.rename(below, up, src_dir_fd=fd, dst_dir_fd=top.fd)
    finally:
        os.close(fd)


def _unlink_or_rmdir(folder: Folder, name: str) -> bool:
    """Remove a name unless it is a folder that is not empty; False then."""
    info = os.lstat(name, dir_fd=folder.fd)
    try:
        if stat.S_ISDIR(info.st_mode):
            os.rmdir(name, dir_fd=folder.fd)
        else:
            os.unlink(name, dir_fd=folder.fd)
    except OSError as error:
        if error.errno in REPLACED:
            return False
        raise OSError(error.errno, error.strerror, folder.child(name)) from None
    return True
