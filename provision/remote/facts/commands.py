"""The commands of units, crontabs and login files, and the scripts that these run."""

from __future__ import annotations

import os
import re
from typing import Iterator

from provision.remote.facts.command_paths import NamedFile, find_named_files, resolve
from provision.remote.facts.start_places import INIT_SCRIPTS
from provision.remote.facts.tree import Tree

ASKS = re.compile(r"(\b(then|do|else)|\{)$")
SCRIPT_BYTES = 65536
MOST_SCRIPTS = 1000  # that are looked into because one text names them
#: No scripts: reading some files there waits, or takes away what others want to read.
NO_SCRIPTS = ("/dev/", "/proc/", "/sys/")
SCRIPT_DEPTH = 4
#: A unit, or a drop-in of one.
IS_UNIT = re.compile(r"[.]service$|[.]service[.]d/[^/]+[.]conf$")
_TIMES = r"(?:@\w+|(?:\S+\s+){4}\S+)\s+"
#: What of a line is the command, by the file that it is in; of all others, the whole line.
FORMS = tuple(
    (re.compile(form), re.compile(pattern))
    for form, pattern in (
        # Settings of a crontab stay as they are.
        (r"^/etc/(crontab$|cron\.d/)", rf"^(?:{_TIMES}\S+\s+)?(.+)$"),
        (r"^/etc/anacrontab$", r"^(?:\S+\s+\S+\s+\S+\s+)?(.+)$"),
        (r"^/var/spool/cron/(?!atjobs/)", rf"^(?:{_TIMES})?(.+)$"),
        (r"\.desktop$", r"^Exec=(.+)$"),
        (r"/lxsession/[^/]+/autostart$", r"^@?(.+)$"),
        (r"/supervisor[^/]*(/|\.conf$)", r"^command\s*=\s*(.+)$"),
        (r"\.rules$", r"\b(?:RUN|PROGRAM)(?:\{program\})?\s*\+?=\s*\"([^\"]+)\""),
        (r"^/etc/inittab$", r"^[^:]*:[^:]*:[^:]*:(.+)$"),
        (r"/(i3|\.i3|sway)/config$", r"^exec(?:_always)?\s+(?:--\S+\s+)*(.+)$"),
        (r"^/etc/init/[^/]+\.conf$", r"^\s*(?:(?:pre|post)-\w+\s+)?(?:exec\s+)?(.+)$"),
    )
)


def unit_lines(tree: Tree, path: str) -> list[str]:
    """Return the lines of a unit or of a drop-in, continued ones joined."""
    return _join_continued(tree.lines(path)).splitlines()


def unit_commands(tree: Tree, path: str) -> list[str]:
    """Return the commands of a unit or drop-in in order; an init script runs itself."""
    if path.startswith(INIT_SCRIPTS):
        return [path]
    lines = (line for line in unit_lines(tree, path) if line.startswith("Exec"))
    return [command for line in lines if (command := line.partition("=")[2].strip())]


def unit_environment(tree: Tree, path: str) -> tuple[str, list[str]]:
    """Return the variables that a unit sets, as one text, and the files that hold others."""
    if path.startswith(INIT_SCRIPTS):
        return "", []
    pairs = [line.partition("=")[::2] for line in unit_lines(tree, path)]
    variables = " ".join(value for key, value in pairs if key.strip() == "Environment")
    files = [value.strip().lstrip("-") for key, value in pairs if key.strip() == "EnvironmentFile"]
    return variables, files


def unit_folders(tree: Tree, path: str) -> tuple[str, str]:
    """Return where a unit's commands run, and the home of its user."""
    lines = [] if path.startswith(INIT_SCRIPTS) else unit_lines(tree, path)
    settings = {key.strip(): value.strip() for key, _, value in (x.partition("=") for x in lines)}
    user = settings.get("User", "root")
    home = home_of_file(path) or ("/root" if user == "root" else _home_of(tree, user))
    folder = settings.get("WorkingDirectory") or (home if home_of_file(path) else "/")
    return resolve(folder.lstrip("-"), "/", home), home


def _home_of(tree: Tree, user: str) -> str:
    """Return a user's home folder; root's where the user is unknown."""
    for line in tree.lines("/etc/passwd"):
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == user:
            return fields[5]
    return "/root"


def home_of_file(path: str) -> str:
    """Return the home in which a file is; empty where it is in none."""
    match = re.match(r"/home/[^/]+|/root(?=/)", path)
    return match.group(0) if match else ""


def home_for(tree: Tree, path: str) -> str:
    """Return the home of the user whose commands a crontab or login file has."""
    folder, _, name = path.rpartition("/")
    if folder in ("/var/spool/cron/crontabs", "/var/spool/cron"):
        return _home_of(tree, name)
    return home_of_file(path) or "/root"


def files_named_in(tree: Tree, path: str) -> list[NamedFile]:
    """Return the files that a unit, a crontab, a login file or a script of the boot names."""
    if path.startswith(INIT_SCRIPTS) or IS_UNIT.search(path):
        folder, home = unit_folders(tree, path)
        texts = unit_commands(tree, path)
    else:
        folder = home = home_for(tree, path)
        commands = commands_of(tree, path)
        # Each line of a crontab begins in the user's home; in a script `cd` counts to its end.
        texts = commands if "cron" in path else ["\n".join(commands)]
    return [file for text in texts for file in find_named_files(text, folder, home)]


def unit_texts(tree: Tree, path: str) -> list[str]:
    """Return the commands of a unit or drop-in, and the texts of the scripts that they run."""
    return [*unit_commands(tree, path), *scripts_of(tree, files_named_in(tree, path))]


def scripts_of(tree: Tree, named: list[NamedFile]) -> Iterator[str]:
    """Yield the text of each of these files that is a script, and of those that they run.

    Without comments.
    """
    return (text for _, text in _walk(tree, named) if text)


def files_run_by(tree: Tree, named: list[NamedFile]) -> Iterator[NamedFile]:
    """Yield those of these files that are run and are not scripts, and those that scripts run."""
    return (file for file, text in _walk(tree, named) if file.is_run and not text)


def _walk(tree: Tree, named: list[NamedFile]) -> Iterator[tuple[NamedFile, str]]:
    """Yield each of these files with its text as a script, and those that the scripts name."""
    seen: set[str] = set()
    for depth in range(1, SCRIPT_DEPTH + 1):
        following = []
        for file in named[:MOST_SCRIPTS]:
            if file.path in seen:
                continue
            seen.add(file.path)
            text = script_text(tree, file)
            yield file, text
            if text and depth < SCRIPT_DEPTH:
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
    """Return the commands of a file that starts things, without comments and without the rest.

    A shell's line that only asks (`if …; then`) is left out.
    """
    if not tree.is_file(path):
        return []
    if IS_UNIT.search(path):
        return unit_commands(tree, path)
    lines = [
        line
        for line in _join_continued(tree.lines(path)).splitlines()
        if not is_switched_off(line) and not ASKS.search(line)
    ]
    for form, pattern in FORMS:
        if form.search(path):
            matches = (pattern.search(line) for line in lines)
            return [match.group(1) for match in matches if match]
    return lines


def is_switched_off(line: str) -> bool:
    """Return whether a command is a comment behind `:`, which keeps the block around it valid.

    The way in which playbooks/demine.yml switches a command off.
    """
    return line.startswith(": #")
