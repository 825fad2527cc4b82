"""The version in a kernel module's file.

A module is an ELF file with a section `.modinfo` of NAME=value texts. The section is found by the
file's own table, so that of 60 MB some hundred bytes are read. Source: elf(5), modinfo(8).
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
from typing import Any, BinaryIO, Callable

from provision.remote.facts.tree import Tree

VERSION = re.compile(rb"(?:^|[\0\n])version=([\w.]+)[\0\n]")
HEADER = struct.Struct("<40xQ10xHHH")  # e_shoff, e_shentsize, e_shnum, e_shstrndx of a 64-bit file
SECTION = struct.Struct("<I20xQQ")  # sh_name, sh_offset, sh_size
MOST_BYTES = 1 << 20  # of a section that is read


def read_module_version(tree: Tree, path: str) -> str:
    """Return the version of a module; empty where none can be read.

    Modules of which zstd is the compression cannot be read with the standard library.
    """
    try:
        with _opener(path)(tree.path(path), "rb") as stream:
            return _version(stream)
    except (OSError, EOFError, ValueError, lzma.LZMAError, struct.error):
        return ""


def _opener(path: str) -> Callable[[str, str], BinaryIO]:
    openers: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
    opener: Callable[[str, str], BinaryIO] = openers.get(path[-3:], open)
    return opener


def _version(stream: BinaryIO) -> str:
    header = stream.read(64)
    if header[:4] != b"\x7fELF":
        match = VERSION.search(header + stream.read(4096))
        return match.group(1).decode() if match else ""
    if header[4:6] != b"\2\1":  # a 64-bit file of a little-endian machine
        return ""
    offset, entry_size, count, names_index = HEADER.unpack(header[:64])
    stream.seek(offset)
    table = stream.read(min(entry_size * count, MOST_BYTES))
    sections = [SECTION.unpack_from(table, entry_size * number) for number in range(count)]
    names = _read(stream, sections[names_index])
    for section in sections:
        if names[section[0] :].startswith(b".modinfo\0"):
            match = VERSION.search(_read(stream, section))
            return match.group(1).decode() if match else ""
    return ""


def _read(stream: BinaryIO, section: tuple[int, int, int]) -> bytes:
    stream.seek(section[1])
    return stream.read(min(section[2], MOST_BYTES))
