"""cpio archives (newc), as Linux unpacks them into its first file system."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

FOLDER = stat.S_IFDIR | 0o755
FILE = stat.S_IFREG | 0o644
PROGRAM = stat.S_IFREG | 0o755
LINK = stat.S_IFLNK | 0o777


def pack_entry(name: str, mode: int, content: bytes = b"", number: int = 1) -> bytes:
    """One file, folder or link (whose content is its target)."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return _pad(head) + _pad(content)


def pack_end() -> bytes:
    """What closes an archive."""
    return pack_entry("TRAILER!!!", 0)


def pack_folder(root: Path, leave_out: Iterable[str] = ()) -> bytes:
    """All of a folder, without the paths that begin so."""
    left_out = tuple(leave_out)
    parts = []
    for number, path in enumerate(sorted(root.rglob("*")), start=1):
        name = str(path.relative_to(root))
        if name.startswith(left_out):
            continue
        if path.is_symlink():
            parts.append(pack_entry(name, LINK, str(path.readlink()).encode(), number))
        elif path.is_dir():
            parts.append(pack_entry(name, FOLDER, b"", number))
        elif path.is_file():
            mode = PROGRAM if path.stat().st_mode & 0o111 else FILE
            parts.append(pack_entry(name, mode, path.read_bytes(), number))
    return b"".join(parts) + pack_end()


def _pad(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % 4)
