"""The commands of units, crontabs and login files, and the scripts that these run."""

from __future__ import annotations

import os
import re
from typing import Iterator

from provision.remote.facts.command_paths import NamedFile, find_named_files, resolve
from provision.remote.facts.tree import Tree

INIT_SCRIPTS = "/etc/init.d"
ASKS = re.compile(r"(\b(then|do|else)|\{)$")
SCRIPT_BYTES = 65536
MOST_SCRIPTS = 1000  # that are looked into because one text names them
#: No scripts: reading some files there waits, or takes away what others want to read.
NO_SCRIPTS = ("/dev/", "/proc/", "/sys/")
SCRIPT_DEPTH = 3


def unit_commands(tree: Tree, path: str) -> list[str]:
    """Return a unit's commands in order; an init script runs itself."""
    if path.startswith(INIT_SCRIPTS):
        return [path]
    lines = (line for line in tree.lines(path) if line.startswith("Exec"))
    return [line.partition("=")[2].strip() for line in lines]


def _unit_folders(tree: Tree, path: str) -> tuple[str, str]:
    """Return where a unit's commands run, and the home of its user."""
    settings = {} if path.startswith(INIT_SCRIPTS) else tree.settings(path)
    user = settings.get("User", "root")
    home = "/root" if user == "root" else _home_of(tree, user)
    folder = settings.get("WorkingDirectory", "/").lstrip("-")
    return resolve(folder, "/", home), home


def _home_of(tree: Tree, user: str) -> str:
    """Return a user's home folder; root's where the user is unknown."""
    for line in tree.lines("/etc/passwd"):
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == user:
            return fields[5]
    return "/root"


def _home_of_file(tree: Tree, path: str) -> str:
    """Return the home of the user whose commands a crontab or login file has."""
    folder, _, name = path.rpartition("/")
    if folder in ("/var/spool/cron/crontabs", "/var/spool/cron"):
        return _home_of(tree, name)
    match = re.match(r"/home/[^/]+", path)
    return match.group(0) if match else "/root"


def files_named_in(tree: Tree, path: str) -> list[NamedFile]:
    """Return the files that a unit, a crontab, a login file or a script of the boot names."""
    if path.endswith(".service") or path.startswith(INIT_SCRIPTS):
        folder, home = _unit_folders(tree, path)
        texts = unit_commands(tree, path)
    else:
        folder = home = _home_of_file(tree, path)
        commands = commands_of(tree, path)
        # Each line of a crontab begins in the user's home; in a script `cd` counts to its end.
        texts = commands if "cron" in path else ["\n".join(commands)]
    return [file for text in texts for file in find_named_files(text, folder, home)]


def scripts_of(tree: Tree, named: list[NamedFile]) -> Iterator[str]:
    """Yield the text of each of these files that is a script, and of those that they run.

    Without comments.
    """
    seen: set[str] = set()
    for depth in range(1, SCRIPT_DEPTH + 1):
        following = []
        for file in named[:MOST_SCRIPTS]:
            if file.path in seen:
                continue
            seen.add(file.path)
            text = script_text(tree, file)
            if text:
                yield text
                if depth < SCRIPT_DEPTH:
                    following += files_named_by_script(text, file)
        named = following


def files_named_by_script(text: str, script: NamedFile) -> list[NamedFile]:
    """Return the files that a script's text names."""
    return find_named_files(text, script.folder, script.home, os.path.dirname(script.path))


def script_text(tree: Tree, file: NamedFile) -> str:
    """Return a script's text without its comments; empty: it is not one, or does not exist.

    A file that a shell runs need not name an interpreter in its first line.
    """
    if file.path.startswith(NO_SCRIPTS) or not 0 < tree.size(file.path) <= SCRIPT_BYTES:
        return ""
    if not tree.is_file(file.path):
        return ""
    text = tree.text(file.path)
    is_script = text.startswith("#!") or (file.is_run and "\0" not in text)
    return _join_continued(tree.lines(file.path)) if is_script else ""


def _join_continued(lines: list[str]) -> str:
    return "\n".join(lines).replace("\\\n", " ")


def commands_of(tree: Tree, path: str) -> list[str]:
    """Return the lines that do something: no comments, and none that only asks (`if …; then`)."""
    if not tree.is_file(path):
        return []
    lines = _join_continued(tree.lines(path)).splitlines()
    return [line for line in lines if not is_switched_off(line) and not ASKS.search(line)]


def is_switched_off(line: str) -> bool:
    """Return whether a command is a comment behind `:`, which keeps the block around it valid.

    The way in which playbooks/demine.yml switches a command off.
    """
    return line.startswith(": #")
