"""Reading below a root folder: the rig's own, or a test's.

A file that a user controls is read as that user could read it, in part, and never waited for.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import time
from typing import Iterable, Iterator, NamedTuple

from provision.remote.host import ModuleFailure
from provision.remote.paths import reach

#: Folders in which only root writes: their files are opened directly, which takes less time.
OF_ROOT = ("/proc/", "/sys/", "/etc/", "/usr/", "/lib/", "/boot/", "/root/", "/var/lib/")
PIECE = 1 << 16  # bytes that are read at once
MOST_BYTES = 64 << 20  # of one file of root's
MOST_OF_USERS = 256 << 10  # bytes of any other file: a login script is smaller
MOST_OF_A_LINE = 4096  # characters of such a file's line that patterns are matched against


MOST_LINKS = 40  # on the way to one file, as the kernel has it


class FileStats(NamedTuple):
    """A file's inode, its size in bytes, and when it was last changed, in Unix seconds."""

    inode: int
    size: int
    changed_at: float


class Tree:
    """A file system's root; every path given to it starts with a slash."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def path(self, path: str) -> str:
        """Return where a path of the rig really is."""
        return self.root + path

    def text(self, path: str, default: str = "") -> str:
        """Return a file's content; `default` where there is none or it can't be read."""
        try:
            if path.startswith(OF_ROOT):
                return _read(_open(self.path(path)), MOST_BYTES)
            with reach(self.path(path), reading=True) as place:
                text = _read(place.open_file(reading=True), MOST_OF_USERS)
        except (OSError, ValueError, ModuleFailure):
            return default
        return "\n".join(line[:MOST_OF_A_LINE] for line in text.split("\n"))

    def line(self, path: str) -> str:
        """Return a file's content without the space around it."""
        return self.text(path).strip()

    def digest(self, path: str) -> str:
        """Return the MD5 sum of a file of root's, as dpkg records them; empty if unreadable."""
        try:
            content = _read_bytes(_open(self.path(path)), MOST_BYTES)
        except OSError:
            return ""
        return hashlib.md5(content).hexdigest()  # dpkg has no other  # nosec B324

    def lines(self, path: str) -> list[str]:
        """Return a file's lines that are neither empty nor comments."""
        stripped = (line.strip() for line in self.text(path).splitlines())
        return [line for line in stripped if line and not line.startswith("#")]

    def find_texts(self, files: str, pattern: str) -> frozenset[str]:
        """Return what of some small files matches: that alone, for the rest may be secret.

        files: a path, which may end with a shell pattern. pattern: for grep -E, too.
        """
        paths = self.glob(files) if "*" in files else [files]
        texts = [self.text(path) for path in paths if 0 < self.size(path) <= MOST_OF_USERS]
        return frozenset(match.group(0) for text in texts for match in re.finditer(pattern, text))

    def holds_text(self, path: str, texts: Iterable[str]) -> bool:
        """Return whether a program's file of up to 64 MiB holds any of these texts."""
        # The kernel's own files have no size, and reading some of them waits.
        if not self.is_file(path) or not 0 < self.size(path) <= MOST_BYTES:
            return False
        try:
            with reach(self.path(path), reading=True) as place:
                content = _read_bytes(place.open_file(reading=True), MOST_BYTES)
        except (OSError, ValueError, ModuleFailure):
            return False
        return any(text.encode() in content for text in texts)

    def exists(self, path: str) -> bool:
        """Return whether there is anything at a path, a dangling link included."""
        return os.path.lexists(self.path(path))

    def is_file(self, path: str) -> bool:
        """Return whether there is a file that can be read, links followed."""
        info = self._info(path)
        return info is not None and stat.S_ISREG(info.st_mode)

    def size(self, path: str) -> int:
        """Return a file's size in bytes; 0 where there is none."""
        info = self._info(path)
        return 0 if info is None else info.st_size

    def stats(self, path: str) -> FileStats | None:
        """Return a file's inode, size and time, links followed; None where it does not exist."""
        info = self._info(path)
        return None if info is None else FileStats(info.st_ino, info.st_size, info.st_mtime)

    def now(self) -> float:
        """Return the rig's clock, in Unix seconds."""
        return time.time()

    def _info(self, path: str) -> os.stat_result | None:
        try:
            if path.startswith(OF_ROOT):
                return os.stat(self.path(path))
            with reach(self.path(path), reading=True) as place:
                return place.info
        except (OSError, ValueError, ModuleFailure):
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted; none where it does not exist."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def glob(self, pattern: str) -> list[str]:
        """Return the rig's paths that match a shell pattern."""
        paths = glob.glob(self.path(pattern))
        return sorted(path[len(self.root) :] for path in paths)

    def target(self, path: str) -> str:
        """Return where a link points, as it is written; empty where there is none."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return ""

    def resolve(self, path: str) -> str:
        """Return a path with every link on the way followed, within the tree.

        What does not exist is kept as it is written, and so is the rest of a loop.
        """
        left = [part for part in path.split("/") if part]
        done: list[str] = []
        links = 0
        while left:
            part = left.pop(0)
            if part == "..":
                done[-1:] = []
                continue
            target = self.target("/".join(["", *done, part])) if part != "." else ""
            if not target or links >= MOST_LINKS:
                done += [part] if part != "." else []
                continue
            links += 1
            done = [] if target.startswith("/") else done
            left = [*(part for part in target.split("/") if part), *left]
        return "/" + "/".join(done)

    def link(self, path: str) -> str:
        """Return the last part of where a link points; empty where there is none."""
        return os.path.basename(self.target(path))

    def settings(self, path: str) -> dict[str, str]:
        """Return a file of NAME=value lines, as os-release and /etc/default/grub are."""
        pairs: dict[str, str] = {}
        for line in self.lines(path):
            name, equals, value = line.partition("=")
            if equals:
                pairs[name.strip()] = value.strip().strip("\"'")
        return pairs

    def usage(self, path: str) -> dict[str, int]:
        """Return the size and free part of a path's file system: bytes, blocks, inodes."""
        try:
            info = os.statvfs(self.path(path))
        except OSError:
            return {}
        return {
            "size_total": info.f_frsize * info.f_blocks,
            "size_available": info.f_frsize * info.f_bavail,
            "block_size": info.f_bsize,
            "block_total": info.f_blocks,
            "block_available": info.f_bavail,
            "block_used": info.f_blocks - info.f_bavail,
            "inode_total": info.f_files,
            "inode_available": info.f_favail,
            "inode_used": info.f_files - info.f_favail,
        }

    def processes(self) -> Iterator[str]:
        """Yield the folder of each process in /proc."""
        for name in self.names("/proc"):
            if name.isdigit():
                yield f"/proc/{name}"


def _open(path: str) -> int:
    """Open a regular file for reading, without waiting for anything."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"not a regular file: {path}")
    return fd


def _read(fd: int, most: int) -> str:
    """Read at most so many bytes of an open file as text, and close it."""
    return _read_bytes(fd, most).decode("utf-8", "replace")


def _read_bytes(fd: int, most: int) -> bytes:
    pieces = []
    try:
        while most > 0:
            piece = os.read(fd, min(most, PIECE))
            if not piece:
                break
            pieces.append(piece)
            most -= len(piece)
    finally:
        os.close(fd)
    return b"".join(pieces)
