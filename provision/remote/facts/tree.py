"""Reading below a root folder: the rig's own, or a test's."""

from __future__ import annotations

import glob
import os
from typing import Iterator


class Tree:
    """A file system's root; every path given to it starts with a slash."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")

    def path(self, path: str) -> str:
        """Where a path of the rig really is."""
        return self.root + path

    def text(self, path: str, default: str = "") -> str:
        """A file's content; `default` where there is none or it can't be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except (OSError, ValueError):
            return default

    def line(self, path: str) -> str:
        """A file's content without the space around it."""
        return self.text(path).strip()

    def lines(self, path: str) -> list[str]:
        """A file's lines that are neither empty nor comments."""
        stripped = (line.strip() for line in self.text(path).splitlines())
        return [line for line in stripped if line and not line.startswith("#")]

    def exists(self, path: str) -> bool:
        """Whether there is anything at a path, a dangling link included."""
        return os.path.lexists(self.path(path))

    def is_file(self, path: str) -> bool:
        """Whether there is a file that can be read, links followed."""
        return os.path.isfile(self.path(path))

    def size(self, path: str) -> int:
        """A file's size in bytes; 0 where there is none."""
        try:
            return os.path.getsize(self.path(path))
        except OSError:
            return 0

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted; none where there is no folder."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except OSError:
            return []

    def glob(self, pattern: str) -> list[str]:
        """The rig's paths that match a shell pattern."""
        found = glob.glob(self.path(pattern))
        return sorted(path[len(self.root) :] for path in found)

    def target(self, path: str) -> str:
        """Where a link points, as it is written; empty where there is none."""
        try:
            return os.readlink(self.path(path))
        except OSError:
            return ""

    def link(self, path: str) -> str:
        """The last part of where a link points; empty where there is none."""
        return os.path.basename(self.target(path))

    def settings(self, path: str) -> dict[str, str]:
        """A file of NAME=value lines, as os-release and /etc/default/grub are."""
        pairs: dict[str, str] = {}
        for line in self.lines(path):
            name, equals, value = line.partition("=")
            if equals:
                pairs[name.strip()] = value.strip().strip("\"'")
        return pairs

    def usage(self, path: str) -> dict[str, int]:
        """The size of a path's file system, and what of it is free: bytes, blocks, inodes."""
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
        """The folder of each process in /proc."""
        for name in self.names("/proc"):
            if name.isdigit():
                yield f"/proc/{name}"
