"""apt's package lists: which of them the sources need, whether they are there, and their age.

apt gives a list the time that its server reports, which may be months ago, and a folder's time
changes for other reasons: after a power cut an empty folder has today's. So the lists must be
complete, each index of the size that its Release file has, and they are as old as the last update
that reported success, or as the newest of them.
Source: apt-pkg/contrib/fileutl.cc (URItoFileName), apt-pkg/deb/debmetaindex.cc (MetaIndexURI).
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, NamedTuple, Sequence

from provision.remote.facts.package_sources import SourceEntry
from provision.remote.facts.tree import Tree

FOLDER = "/var/lib/apt/lists"
FOREIGN = "/var/lib/dpkg/arch"  # the system's own architecture, and those that were added
STAMP = "/var/lib/apt/periodic/update-success-stamp"
ESCAPED = frozenset('%\\|{}[]<>"^~_=!@#$^&*')
#: Endings of an index: as it is unless Acquire::GzipIndexes is set.
ENDINGS = ("", ".lz4", ".zst", ".xz", ".gz", ".bz2")
#: A source that `apt-get update` does not fetch.
DISC = "cdrom:"


class ListFiles(NamedTuple):
    """The lists of one suite of a source. release: the path of its InRelease or Release file.

    indexes: paths of its Packages files, as they would be uncompressed. is_complete: every one is
    there, with the size that the Release file has.
    """

    source: SourceEntry
    uri: str
    suite: str
    release: str
    indexes: list[str]
    is_complete: bool


def escape_uri(uri: str) -> str:
    """Return the part of a list's file name that apt makes from a URI.

    >>> escape_uri("http://user@host.org:80/a_b/dists/x/")
    'host.org:80_a%5fb_dists_x_'
    """
    match = re.match(r"[A-Za-z+-]+:(?://(?:[^/@]*@)?([^/]*))?(.*)$", uri, re.DOTALL)
    host, path = match.groups("") if match else ("", uri)
    host = re.sub(r"^\[(.*)\]", r"\1", host)  # of IPv6
    if path and not path.startswith("/"):
        path = f"/{path}"
    return _escape(host + path)


def _escape(path: str) -> str:
    escaped = (
        f"%{ord(letter):02x}" if letter in ESCAPED or not "!" <= letter <= "~" else letter
        for letter in path
    )
    return "".join(escaped).replace("/", "_")


def release_uri(uri: str, suite: str) -> str:
    """Return where the Release file of a suite is."""
    base = uri if uri.endswith("/") else f"{uri}/"
    if suite == "/":
        return base
    return f"{base}{suite}" if suite.endswith("/") else f"{base}dists/{suite}/"


def read_lists(tree: Tree, sources: Iterable[SourceEntry], architecture: str) -> list[ListFiles]:
    """Return the lists that the enabled sources of packages need."""
    names = set(tree.names(FOLDER))
    # apt ignores what is of an architecture that dpkg does not know.
    architectures = [architecture, *tree.lines(FOREIGN)]
    return [
        _read_suite(tree, names, source, uri, suite, architectures)
        for source in sources
        if source.enabled and "deb" in source.types
        for uri in source.uris
        if not uri.lower().startswith(DISC)
        for suite in source.suites
    ]


def is_complete(lists: Sequence[ListFiles]) -> bool:
    """Return whether every list that a source needs is there."""
    return bool(lists) and all(suite.is_complete for suite in lists)


def find_update_time(tree: Tree, lists: Iterable[ListFiles]) -> float:
    """Return when the lists were last fetched at the earliest, in Unix seconds; 0 for never."""
    paths = [STAMP, *(suite.release for suite in lists)]
    return max((stats.changed_at for path in paths if (stats := tree.stats(path))), default=0.0)


def find_age(tree: Tree, lists: Sequence[ListFiles]) -> float | None:
    """Return how old the lists are, in seconds; None where they must be fetched again."""
    age = tree.now() - find_update_time(tree, lists)
    # Less than nothing: of a clock that was ahead.
    return age if is_complete(lists) and age >= 0 else None


def present_index(tree: Tree, index: str) -> str:
    """Return the path of an index as it is there, maybe compressed; empty where it is missing."""
    return next((index + ending for ending in ENDINGS if tree.exists(index + ending)), "")


def _read_suite(
    tree: Tree,
    names: set[str],
    source: SourceEntry,
    uri: str,
    suite: str,
    architectures: Sequence[str],
) -> ListFiles:
    architecture = architectures[0]
    wanted = source.options.get("architectures", "").split() or [architecture]
    wanted = [name for name in architectures if name in wanted][:1]
    # In the name of a suite that is not a folder apt leaves $(ARCH) as it is.
    folder = suite.replace("$(ARCH)", architecture) if suite.endswith("/") else suite
    place = release_uri(uri.replace("$(ARCH)", architecture), folder)
    stem = f"{FOLDER}/{escape_uri(place)}"
    present = [f"{stem}{name}" for name in ("InRelease", "Release")]
    release = next((path for path in present if path.rpartition("/")[2] in names), "")
    text = tree.text(release) if release else ""
    indexes, is_complete = [], bool(text.strip())
    for name in _index_names(source, suite, wanted):
        size = _listed_size(text, name)
        if size != 0:
            path = f"{stem}{_escape(name)}"
            indexes.append(path)
            is_complete = is_complete and _has_index(tree, names, path, size)
    return ListFiles(source, uri, suite, release, indexes, is_complete)


def _index_names(source: SourceEntry, suite: str, wanted: Sequence[str]) -> Iterator[str]:
    for architecture in wanted:
        if suite.endswith("/"):
            yield "Packages"
        for component in source.components:
            yield f"{component}/binary-{architecture}/Packages"


def _listed_size(text: str, name: str) -> int | None:
    """Return an index's size in bytes, as its Release file has it; 0 for what it does not have.

    None where the Release file only has the sizes of compressed copies.
    """
    pattern = rf"^ [0-9a-f]{{32,}} +(\d+) +(?:\./)?{re.escape(name)}(\.\w+)?$"
    sizes = {match.group(2): int(match.group(1)) for match in re.finditer(pattern, text, re.M)}
    if None in sizes:
        return sizes[None]
    return None if any(sizes.values()) else 0


def _has_index(tree: Tree, names: set[str], path: str, size: int | None) -> bool:
    name = path.rpartition("/")[2]
    stats = tree.stats(path) if name in names else None
    if stats:
        return stats.size == size if size is not None else stats.size > 0
    for ending in ENDINGS[1:]:
        compressed = tree.stats(path + ending) if name + ending in names else None
        if compressed and compressed.size:
            return True
    return False
