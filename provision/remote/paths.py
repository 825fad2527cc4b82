"""Resolve paths that other users may control: by folder descriptors, one name at a time.

A symlink that another user could have placed leads only to what belongs to that user, or, for
reading, to what that user can read as well. What `reach` returns is open: renaming a file or a
folder afterwards changes nothing about it. docs/decisions/file-library.md has the reasons.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, NamedTuple

from provision.remote.host import ModuleFailure
from provision.remote.trust import (
    ANYBODY,
    is_private,
    is_public_file,
    link_controller,
    trusted_owners,
    user_name,
)

MOST_LINKS = 40  # symlinks in one path, as the kernel counts
FOLDER = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class UnsafePath(ModuleFailure):
    """A path through which another user could misuse the rights of this process."""


class Folder(NamedTuple):
    """An open folder on the way: its descriptor, what fstat reports, and its path."""

    fd: int
    info: os.stat_result
    path: str

    def child(self, name: str) -> str:
        """Return the path of a name in it."""
        return f"{self.path.rstrip('/')}/{name}"


class Place:
    """A name in an open folder, and what it names.

    path: without symlinks. node: an O_PATH descriptor, or None where the name is free. info: what
    fstat reports of the node.
    """

    __slots__ = ("folder", "info", "name", "node", "path")

    def __init__(
        self, folder: Folder, name: str, node: int | None, info: os.stat_result | None
    ) -> None:
        self.folder = folder
        self.name = name
        self.node = node
        self.info = info
        self.path = folder.path if name == "." else folder.child(name)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.folder.fd)
        if self.node is not None:
            os.close(self.node)

    def is_kind(self, test: Any) -> bool:
        """Return whether something is there for which one of the stat module's tests is true."""
        return self.info is not None and test(self.info.st_mode)

    def open_file(self, flags: int = os.O_RDONLY, reading: bool = False) -> int:
        """Open the regular file that is there; raises UnsafePath for anything else."""
        node = self._require()
        self.refuse_special()
        self.refuse_hard_link(reading)
        # O_NOFOLLOW would refuse the link in /proc, which leads to this very file.
        return os.open(via(node), flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)

    def open_folder(self) -> Folder:
        """Open the folder that is there, for listing; the caller closes it."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._require())
        return Folder(fd, os.fstat(fd), self.path)

    def _require(self) -> int:
        if self.node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return self.node

    def refuse_special(self) -> None:
        """Raise UnsafePath for a device, FIFO or socket, and IsADirectoryError for a folder."""
        assert self.info is not None
        if stat.S_ISDIR(self.info.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if not stat.S_ISREG(self.info.st_mode):
            raise UnsafePath(
                f"{self.path} is {KINDS.get(stat.S_IFMT(self.info.st_mode), 'not a file')} of "
                f"{user_name(self.info.st_uid)}, and only regular files are read or written. "
                "Remove it, or put a regular file there",
                path=self.path,
            )

    def refuse_hard_link(self, reading: bool = False) -> None:
        """Raise UnsafePath for a file that a user may have linked here from another folder.

        reading: a file that every user can read discloses nothing.
        """
        info, folder = self.info, self.folder.info
        if info is None or info.st_nlink < 2 or stat.S_ISDIR(info.st_mode):
            return
        if is_private(folder) or (reading and info.st_mode & stat.S_IROTH):
            return
        if info.st_uid == folder.st_uid and not folder.st_mode & stat.S_IWOTH:
            return  # the user's own file in the user's own folder
        raise UnsafePath(
            f"{self.path} has {info.st_nlink} hard links, and {user_name(folder.st_uid)} controls "
            f"the folder: it may be another file of {user_name(info.st_uid)}. "
            "Replace it with a copy",
            path=self.path,
        )

    def is_planted(self) -> bool:
        """Return whether another user created a file in a folder that all users can write to."""
        info, folder = self.info, self.folder.info
        if info is None or not folder.st_mode & stat.S_IWOTH:
            return False
        return info.st_uid not in trusted_owners() and info.st_uid != folder.st_uid


def via(fd: int) -> str:
    """Return a path of an open descriptor, for calls that take no O_PATH descriptor."""
    return f"/proc/self/fd/{fd}"


def failure(doing: str, path: str, error: OSError) -> ModuleFailure:
    """Return how a module reports an error of the system at a path, or at one below it."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    shown = name if name.startswith("/") and not name.startswith("/proc/self/fd/") else path
    return ModuleFailure(f"can't {doing} {shown}: {error.strerror}", path=path)


def reach(path: str, follow: bool = True, reading: bool = False) -> Place:
    """Open the folder that a path leads to and, where it exists, what the path names there.

    follow: whether a symlink at the end of the path is followed. reading: nothing is changed
    through the result, so a symlink may lead to what its owner can read.
    Raises OSError as the kernel does for a folder that is missing, and UnsafePath.
    """
    place = _reach_directly(path, follow)
    if place is not None:
        return place
    walk = _Walk(os.path.join(os.getcwd(), path) if path[:1] != "/" else path, reading)
    try:
        return walk.run(follow)
    finally:
        walk.close()


def _reach_directly(path: str, follow: bool) -> Place | None:
    """Do the same in fewer system calls where no symlink is on the way; None: walk.

    The kernel reports where the folder is that it opened: where that is the path that was asked
    for, the folder is there without any symlink, by whatever way the kernel came to it.
    """
    head, _, name = path.rpartition("/")
    head = head or "/"
    if path[:1] != "/" or name in ("", ".", ".."):
        return None
    try:
        fd = os.open(head, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None  # the walk reports the error at its place
    opened = [fd]
    try:
        if os.readlink(via(fd)) != head:
            return None
        folder = Folder(fd, os.fstat(fd), head)
        try:
            opened.append(os.open(name, NODE, dir_fd=fd))
        except FileNotFoundError:
            opened.clear()
            return Place(folder, name, None, None)
        info = os.fstat(opened[1])
        if follow and stat.S_ISLNK(info.st_mode):
            return None
        place = Place(folder, name, opened[1], info)
        opened.clear()
        return place
    finally:
        for handle in opened:
            os.close(handle)


class _Walk:
    """The state of one resolution. controller: whose symlink was followed, and which one."""

    def __init__(self, path: str, reading: bool) -> None:
        self.asked = path
        self.reading = reading
        self.rest: list[str] = path.split("/")[::-1]
        self.folders: list[Folder] = []
        self.links = 0
        self.controller: int | None = None
        self.link = ""
        self.readable = True  # by the controller: every folder since the link

    def close(self) -> None:
        """Close every folder on the way."""
        while self.folders:
            os.close(self.folders.pop().fd)

    def run(self, follow: bool) -> Place:
        """Walk the path to its end."""
        self._enter_root()
        while self.rest:
            name = self.rest.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(self.folders) > 1:
                    os.close(self.folders.pop().fd)
                continue
            last = not any(part not in ("", ".") for part in self.rest)
            if not last and self._descend(name):
                continue
            place = self._visit(name, last, follow)
            if place is not None:
                return place
        return self._end_at_folder()

    def _enter_root(self) -> None:
        self.close()
        fd = os.open("/", FOLDER)
        self.folders.append(Folder(fd, os.fstat(fd), "/"))

    def _descend(self, name: str) -> bool:
        """Open a name as a folder; False where it is not one."""
        above = self.folders[-1]
        try:
            fd = os.open(name, FOLDER, dir_fd=above.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return False
            raise OSError(error.errno, error.strerror, above.child(name)) from None
        self._append(Folder(fd, os.fstat(fd), above.child(name)))
        return True

    def _append(self, folder: Folder) -> None:
        self.folders.append(folder)
        if self.controller is not None:
            owned = folder.info.st_uid == self.controller
            self.readable = self.readable and bool(owned or folder.info.st_mode & stat.S_IXOTH)

    def _visit(self, name: str, last: bool, follow: bool) -> Place | None:
        """Follow a symlink, or return the last name of the path."""
        above = self.folders[-1]
        try:
            node = os.open(name, NODE, dir_fd=above.fd)
        except FileNotFoundError:
            if not last:
                raise FileNotFoundError(
                    errno.ENOENT, os.strerror(errno.ENOENT), above.child(name)
                ) from None
            return self._finish(name, None, None)
        try:
            info = os.fstat(node)
            is_link = stat.S_ISLNK(info.st_mode)
            if is_link and (not last or follow or self.rest):
                self._follow(node, info, above.child(name))
                return None
            if not stat.S_ISDIR(info.st_mode) and self.rest:
                raise NotADirectoryError(
                    errno.ENOTDIR, os.strerror(errno.ENOTDIR), above.child(name)
                )
            kept, node = node, -1
            return self._finish(name, kept, info)
        finally:
            if node >= 0:
                os.close(node)

    def _follow(self, node: int, info: os.stat_result, path: str) -> None:
        self.links += 1
        if self.links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.asked)
        controller = link_controller(info, self.folders[-1].info)
        if controller is not None:
            if controller == ANYBODY or self.controller not in (None, controller):
                self._refuse(path, controller, "is in a folder that several users control")
            self.controller, self.link = controller, path
        target = os.readlink("", dir_fd=node)
        if target.startswith("/"):
            self._enter_root()
        self.rest.extend(target.split("/")[::-1])

    def _end_at_folder(self) -> Place:
        """Return a path that ends with / or .. : the folder in which the walk is now."""
        folder = self.folders[-1]
        if len(self.folders) == 1:
            node = os.open(".", FOLDER, dir_fd=folder.fd)
            return self._finish(".", node, folder.info)
        self.folders.pop()
        return self._finish(os.path.basename(folder.path), folder.fd, folder.info)

    def _finish(self, name: str, node: int | None, info: os.stat_result | None) -> Place:
        try:
            self._judge(name, info)
        except BaseException:
            if node is not None:
                os.close(node)
            raise
        return Place(self.folders.pop(), name, node, info)

    def _judge(self, name: str, info: os.stat_result | None) -> None:
        """Raise UnsafePath where a user's symlink led to what is not that user's."""
        if self.controller is None:
            return
        folder = self.folders[-1]
        if info is None:
            if folder.info.st_uid != self.controller:
                self._refuse(self.link, self.controller, self._leads_to(folder.path, folder.info))
        elif info.st_uid == self.controller:
            if folder.info.st_uid != self.controller and not is_private(folder.info):
                self._refuse(self.link, self.controller, self._leads_to(folder.path, folder.info))
        elif not (self.reading and self.readable and is_public_file(info)):
            self._refuse(self.link, self.controller, self._leads_to(folder.child(name), info))

    @staticmethod
    def _leads_to(path: str, info: os.stat_result) -> str:
        return f"leads to {path}, which belongs to {user_name(info.st_uid)}"

    def _refuse(self, link: str, controller: int, reason: str) -> None:
        raise UnsafePath(
            f"{self.asked}: refused, because the symlink {link}, which {user_name(controller)} "
            f"controls, {reason}. Remove the symlink, or use the path that it leads to",
            path=self.asked,
        )
