"""How others get into a rig, or bring programs in: what a hijacked one has, or a mining system.

Each is {kind, name, evidence}. kind: `vendor key` (by its comment) and `key` (whose, only
the operator knows), each by its comment, in the file that is the evidence; `sudo` (a user that
needs no password); `fetch` (a line that runs what it fetches, or offers a shell); `unit` and
`process` (remote control, or a shell on a port).
"""

from __future__ import annotations

import re
from typing import Iterable, Iterator, TypedDict

from provision.remote.facts.commands import is_switched_off, unit_commands
from provision.remote.facts.mining_evidence import EvidenceRow, entry, unit_finding
from provision.remote.facts.running import processes
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    login_paths,
    paths,
    unit_files,
)
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

SUDOERS = ("/etc/sudoers", "/etc/sudoers.d/*")
#: A line of authorized_keys: its options, if any, are before.
KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[\w.@-]+)\s+(AAAA\S*)(?:\s+(.*))?$")


class AccessLists(TypedDict):
    """access.json: programs by name, and regular expressions."""

    vendor_key_comment: str
    fetch_and_run: str
    remote_shell: str
    remote_control: list[str]
    remote_control_of_mining_systems: list[str]


def access(tree: Tree) -> list[EvidenceRow]:
    """Return all ways in, each once."""
    lists: AccessLists = table("access.json")
    ways = [
        *_keys(tree, re.compile(lists["vendor_key_comment"], re.IGNORECASE)),
        *_sudo(tree),
        *_fetchers(tree, re.compile(lists["fetch_and_run"], re.MULTILINE)),
        *_remote_control(tree, lists),
    ]
    unique = {(way["kind"], way["name"], way["evidence"]): way for way in ways}
    return list(unique.values())


def key_files(tree: Tree) -> Iterator[str]:
    """Yield the files of authorised keys that there are, of every user."""
    homes = [line.split(":")[5] for line in tree.lines("/etc/passwd") if line.count(":") == 6]
    for home in sorted(set(homes)):
        for path in key_paths(home):
            yield from tree.glob(path)


def key_paths(home: str) -> tuple[str, str]:
    """Return the files of a home in which sshd looks for authorised keys by default."""
    folder = f"{home.rstrip('/')}/.ssh"
    return f"{folder}/authorized_keys", f"{folder}/authorized_keys2"


def authorized_keys(lines: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Type, key (base64) and comment of each line that authorises one."""
    for line in lines:
        match = KEY.search(line)
        if match and not line.startswith("#"):
            yield match.group(1), match.group(2), (match.group(3) or "").strip()


def _keys(tree: Tree, vendors: re.Pattern[str]) -> Iterator[EvidenceRow]:
    for path in key_files(tree):
        for _, key, comment in authorized_keys(tree.lines(path)):
            yield entry(
                "vendor key" if vendors.search(comment) else "key", comment or key[-16:], path
            )


def _sudo(tree: Tree) -> Iterator[EvidenceRow]:
    for path in paths(tree, SUDOERS):
        for line in tree.lines(path):
            match = re.match(r"([\w.-]+)\s+\S+\s*=.*\bNOPASSWD\b", line)
            if match and match.group(1) != "root":
                yield entry("sudo", match.group(1), path)


def _fetchers(tree: Tree, pattern: re.Pattern[str]) -> Iterator[EvidenceRow]:
    for group in (paths(tree, CRON_FILES), paths(tree, BOOT_FILES), login_paths(tree)):
        for path in group:
            for line in tree.lines(path) if tree.is_file(path) else ():
                match = None if is_switched_off(line) else pattern.search(line)
                if match:
                    yield entry("fetch", _program(match.group(0)), path)
    for name, path in unit_files(tree):
        if any(pattern.search(command) for command in unit_commands(tree, path)):
            unit = unit_finding(name, path, frozenset())
            yield entry(*unit.key)


def _program(text: str) -> str:
    """Return the program that fetches or listens: the rest of the line may hold a password."""
    match = re.search(r"curl|wget|ncat|netcat|nc\b|socat|/dev/tcp", text)
    return match.group(0) if match else text.split()[0]


def _remote_control(tree: Tree, lists: AccessLists) -> Iterator[EvidenceRow]:
    names = lists["remote_control_of_mining_systems"]
    for name, path in unit_files(tree):
        if name[: -len(".service")] in names:
            yield entry("unit", name, path)
    shells = re.compile(lists["remote_shell"])
    for process in processes(tree).values():
        known_name = next((name for name in process.names if name in names), None)
        if known_name:
            yield entry("process", known_name, process.evidence)
        elif shells.search(" ".join(process.words)):
            yield entry("process", process.names[0], process.evidence)
