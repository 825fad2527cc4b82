"""Signs that another person was root on this rig, those of a mining system's vendor left out.

Each is {kind, name, evidence}. kind: `starts by itself` (a line of cron, of a boot or login file,
or of a unit that runs what it fetches, or hides what it runs), `user` (root by another name) and
`preload` (a library in every program). What an earlier run recorded is kept apart: to remove the
signs does not undo what was done.
"""

from __future__ import annotations

import json
import re
from typing import Iterator, TypedDict

from provision.remote.facts.commands import is_switched_off, unit_commands
from provision.remote.facts.mining_evidence import EvidenceRow, entry
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    login_paths,
    paths,
    unit_files,
)
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

RECORD = "/var/lib/deeprig/taken-over.json"  # written by playbooks/backup.yml
MOST_RECORDED = 200
#: A program that fetches, with its words up to the next command.
FETCHER = re.compile(r"(?:^|[\s;&|(`\"'/])(?:curl|wget)\s([^;&|)`\n]*)")
#: Options whose next word is not what is fetched.
WITH_VALUE = re.compile(
    r"-[a-zA-Z]*[oOPHAbdeFTuUwx]|--(output\S*|header|data\S*|user\S*|directory-prefix)"
)


class TakeoverSigns(TypedDict):
    """What there is now, and what an earlier run recorded."""

    signs: list[EvidenceRow]
    recorded: list[EvidenceRow]


def takeover(tree: Tree) -> TakeoverSigns:
    """Return the signs of a takeover, now and as recorded."""
    signs = [*_starters(tree), *_users(tree), *_preloaded(tree)]
    unique = {(sign["kind"], sign["name"], sign["evidence"]): sign for sign in signs}
    return {"signs": list(unique.values()), "recorded": list(_recorded(tree))}


def start_lines(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the path and text of each line that starts something by itself."""
    for group in (paths(tree, CRON_FILES), paths(tree, BOOT_FILES), login_paths(tree)):
        for path in group:
            for line in tree.lines(path) if tree.is_file(path) else ():
                if not is_switched_off(line):
                    yield path, line
    for _, path in unit_files(tree):
        for command in unit_commands(tree, path):
            yield path, command


def is_of_vendor(line: str) -> bool:
    """Return whether all that a line fetches comes from vendors of mining systems.

    Of whichever: a rig may have had several systems, or be left with a part of one.
    """
    sources = list(_sources(line))
    vendors = table("intruders.json")["vendors"].values()
    places = [place for vendor in vendors for place in vendor]
    return bool(sources) and all(
        any(_is_below(source, place) for place in places) for source in sources
    )


def _starters(tree: Tree) -> Iterator[EvidenceRow]:
    fetches = re.compile(table("access.json")["fetch_and_run"])
    rows = [row for row in table("intruders.json")["commands"] if row["status"] == "critical"]
    hidden = [(re.compile(row["pattern"]), row["reading"]) for row in rows]
    for path, line in start_lines(tree):
        if fetches.search(line):
            if not is_of_vendor(line):
                yield entry("starts by itself", "runs what it fetches, or offers a shell", path)
        elif path.startswith("/etc/") or not path.endswith(".service"):
            for pattern, reading in hidden:
                if pattern.search(line):
                    yield entry("starts by itself", reading, path)


def _sources(line: str) -> Iterator[str]:
    """Yield what curl and wget fetch in a line: host and path, or a word that hides them."""
    for match in FETCHER.finditer(line):
        words = [word.strip("\"'") for word in match.group(1).split()]
        before = ""
        for word in words:
            if word and not word.startswith("-") and not WITH_VALUE.fullmatch(before):
                yield re.sub(r"^https?://", "", word)
            before = word


def _is_below(source: str, place: str) -> bool:
    """Return whether a host and path is a vendor's host, one below it, or in its folder."""
    host, _, path = source.partition("/")
    wanted, _, folder = place.partition("/")
    if folder:
        return host == wanted and f"{path}/".startswith(f"{folder}/")
    return host == wanted or host.endswith(f".{wanted}")


def _users(tree: Tree) -> Iterator[EvidenceRow]:
    for line in tree.lines("/etc/passwd"):
        cells = line.split(":")
        if len(cells) >= 7 and cells[2] == "0" and cells[0] != "root":
            yield entry("user", f"{cells[0]} is root by another name", "/etc/passwd")


def _preloaded(tree: Tree) -> Iterator[EvidenceRow]:
    for line in tree.lines("/etc/ld.so.preload"):
        yield entry("preload", f"{line} is loaded into every program", "/etc/ld.so.preload")


def _recorded(tree: Tree) -> Iterator[EvidenceRow]:
    try:
        rows = json.loads(tree.text(RECORD) or "[]")
    except ValueError:
        rows = []
    for row in rows[:MOST_RECORDED] if isinstance(rows, list) else ():
        if isinstance(row, dict) and all(
            isinstance(row.get(key), str) for key in ("kind", "name", "evidence")
        ):
            yield entry(row["kind"], row["name"], row["evidence"])
