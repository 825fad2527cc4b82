"""What keeps apt and dpkg from working as they should: pins, holds, cut-off work, and locks.

Source: apt_preferences(5), dpkg(1) for the states of packages, /proc/locks in proc(5).
"""

from __future__ import annotations

import re
from typing import Iterator, TypedDict

from provision.remote import dpkg
from provision.remote.facts.package_sources import parse_paragraphs
from provision.remote.facts.tree import Tree

PREFERENCES = "/etc/apt/preferences"
#: Other names in the folder of preferences are ignored.
PREFERENCE_NAME = re.compile(r"[A-Za-z0-9_:-]+(?:\.pref)?|[A-Za-z0-9_:-][A-Za-z0-9_.:-]*\.pref")
UPDATES = "/var/lib/dpkg/updates"
#: From the lock that every package manager takes first to those of a download.
LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
HELD_LOCK = re.compile(r"^\d+: (?:POSIX|OFDLCK|FLOCK) +\S+ +WRITE +(\d+) +[^:\s]+:[^:\s]+:(\d+) ")
FINISHED = ("installed", "config-files", "not-installed")


class PinRow(TypedDict):
    """A stanza of apt's preferences. packages: names and patterns, as they are written."""

    file: str
    packages: list[str]
    pin: str
    priority: int


class Unfinished(TypedDict):
    """A package that dpkg did not finish. version: None where it was never unpacked.

    state: as dpkg has it, or `reinst-required`.
    """

    package: str
    version: str | None
    state: str


class LockHolder(TypedDict):
    """A process that keeps other package managers waiting."""

    path: str
    pid: int
    program: str


def read_pins(tree: Tree) -> list[PinRow]:
    """Return the pins of every file of preferences, in the order in which apt reads them."""
    folder = f"{PREFERENCES}.d"
    files = [f"{folder}/{name}" for name in tree.names(folder) if PREFERENCE_NAME.fullmatch(name)]
    return [pin for path in (PREFERENCES, *files) for pin in _pins(tree, path)]


def find_holds(packages: dpkg.Database) -> list[str]:
    """Return the names of packages that are selected to stay at their version."""
    return sorted({package.name for package in packages.find_irregular() if package.held})


def find_unfinished(tree: Tree, packages: dpkg.Database) -> list[Unfinished]:
    """Return the packages that are neither installed nor removed completely.

    Where dpkg was cut off, its latest changes are not in its status file yet.
    """
    irregular = {
        (package.name, package.architecture): package for package in packages.find_irregular()
    }
    for name in _updates(tree):
        update = dpkg.Database(tree.text(f"{UPDATES}/{name}"))
        for package in (package for name in update.names() for package in update.find_all(name)):
            irregular[package.name, package.architecture] = package
    rows: list[Unfinished] = []
    for package in irregular.values():
        state = "reinst-required" if package.needs_reinstallation else package.state
        if state not in FINISHED:
            rows.append(
                {"package": package.name, "version": package.version or None, "state": state}
            )
    return sorted(rows, key=lambda row: row["package"])


def is_interrupted(tree: Tree) -> bool:
    """Return whether dpkg was cut off: `dpkg --configure -a` must finish its updates."""
    return bool(_updates(tree))


def find_lock_holder(tree: Tree) -> LockHolder | None:
    """Return the process that holds the first of the locks that is held."""
    held = {
        int(match.group(2)): int(match.group(1))
        for line in tree.text("/proc/locks").splitlines()
        if (match := HELD_LOCK.match(line))
    }
    for path in LOCKS if held else ():
        stats = tree.stats(path)
        pid = held.get(stats.inode, 0) if stats else 0
        if pid > 0 and _may_have_open(tree, pid, path):
            program = tree.line(f"/proc/{pid}/comm") or "a process"
            return {"path": path, "pid": pid, "program": program}
    return None


def _pins(tree: Tree, path: str) -> Iterator[PinRow]:
    for _, fields in parse_paragraphs(tree.text(path)):
        priority = re.match(r"-?\d{1,9}$", fields.get("pin-priority", "").strip())
        if fields.get("package") and fields.get("pin") and priority:
            yield {
                "file": path,
                "packages": fields["package"].split(),
                "pin": " ".join(fields["pin"].split()),
                "priority": int(priority.group(0)),
            }


def _updates(tree: Tree) -> list[str]:
    return [name for name in tree.names(UPDATES) if name.isdigit()]


def _may_have_open(tree: Tree, pid: int, path: str) -> bool:
    """Return whether a process may have a file open: inodes of two file systems may be equal."""
    folder = f"/proc/{pid}/fd"
    files = {tree.target(f"{folder}/{name}") for name in tree.names(folder)}
    return not files or tree.resolve(path) in files
