"""The shell commands of a first look, made from first.yml and the evidence of mining systems."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypedDict

from provision.inventory import yaml_source
from provision.paths import PLAYBOOKS
from provision.remote.facts.start_places import (
    AUTOSTART,
    BOOT_FILES,
    CRON_FILES,
    LOGIN_FILES,
    STARTER_SETTINGS,
    SYSTEM_LOGIN_FILES,
    UNIT_FOLDERS,
    USER_UNIT_FOLDERS,
)

HERE = Path(__file__).parent
FACTS = HERE.parent / "remote" / "facts"
SECONDS = 10  # for one question; what takes longer is left out
MOST_BYTES = 32 << 20  # of one answer, compressed: a link that leads to the whole disk ends there
HOME_KIB = 257  # find rounds up: files of users of up to 256 KiB, as the facts read them
SCRIPT_KIB = 65  # find rounds up: scripts of up to 64 KiB, as the facts read them
PROGRAM_KIB = (64 << 10) + 1  # of a program, as the facts read it
#: Of a repository, what is not asked for.
INDEXES = ("Packages", "Translations")
NETWORK = ("http", "https")
MOST_TEXTS = 50  # that are found in one file
MOST_OF_A_FILE = 1 << 20  # of one of the kernel's


class QuestionTable(TypedDict):
    """first.yml: patterns of paths, and commands by name."""

    settings: list[str]
    homes: list[str]
    kernel: list[str]
    names: list[str]
    commands: dict[str, str]


@cache
def load_table() -> QuestionTable:
    """Return the table, as it is written."""
    table: QuestionTable = yaml_source.load_yaml(HERE / "first.yml")
    return table


def questions() -> dict[str, str]:
    """Shell commands by name: `settings` and `homes` give a compressed tar, `kernel` what head
    writes, `names` a line of PATH, kind, kind of its target and target for each (tab between them).
    """
    places = load_table()
    printed = r"-printf '%p\t%y\t%Y\t%l\n'"
    settings = _relative_to_root([*places["settings"], *starting_places("/root")])
    fixed = {
        "settings": f"cd / && tar -chf - {settings} | gzip -1 | head -c {MOST_BYTES}",
        "homes": _homes_command([*places["homes"], *starting_places("/home/*")]),
        "kernel": f"head -v -c {MOST_OF_A_FILE} {' '.join(places['kernel'])}",
        "names": (
            f"find {' '.join([*places['names'], *evidence()])} -maxdepth 0 {printed};"
            f" find /proc/[0-9]*/fd -maxdepth 1"
            f" \\( -lname '/dev/nvidia*' -o -lname 'socket:*' -o -lname '/var/*/lock'"
            f" -o -lname '/var/lib/dpkg/lock-frontend' \\) {printed}"
        ),
    }
    commands = {**fixed, "repositories": _repositories_command(), **places["commands"]}
    return {name: _bound_command(command) for name, command in commands.items()}


def _repositories_command() -> str:
    """Return the command that asks each package source for its Release file, without its lists.

    It writes in memory only, and prints lines `failed URL REASON` and `clock SECONDS`, as
    playbooks/tasks/preflight/repositories.yml does.
    """
    shell = yaml_source.load_yaml(PLAYBOOKS / "vars" / "repositories.yml")
    options = [f"-o Acquire::IndexTargets::deb::{name}::DefaultEnabled=false" for name in INDEXES]
    options += ["-o Acquire::Retries=0", *(f"-o Acquire::{kind}::Timeout=4" for kind in NETWORK)]
    return "\n".join(
        [
            "work=$(mktemp -d /run/deeprig.XXXXXX || mktemp -d /dev/shm/deeprig.XXXXXX) || exit",
            "trap 'rm -rf \"$work\"' EXIT; trap exit TERM",
            'mkdir -p "$work/lists/partial" "$work/parts" "$work/cache"',
            "for file in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do",
            '[ ! -e "$file" ] || ln -s "$file" "$work/parts/"; done',
            f'cat >"$work/apt.conf" <<END\n{shell["repository_settings"]}END',
            'export APT_CONFIG="$work/apt.conf" LC_ALL=C asked="a key that is missing"',
            f"timeout {SECONDS - 2} apt-get update {' '.join(options)}"
            ' >"$work/log" 2>&1 </dev/null',
            shell["repository_answers"],
        ]
    )


def starting_places(home: str) -> list[str]:
    """Return patterns of where things start by themselves: in a home, with root's the system's."""
    units = (folder for folder in USER_UNIT_FOLDERS if folder.startswith(f"{home}/"))
    patterns = [*units, *(f"{home}/{name}" for name in (*LOGIN_FILES, *AUTOSTART))]
    if home == "/root":
        patterns += [*CRON_FILES, *BOOT_FILES, *STARTER_SETTINGS, *SYSTEM_LOGIN_FILES]
        patterns += [folder for folder in UNIT_FOLDERS if not folder.startswith("/run/")]
    return patterns


def texts(wanted: Sequence[str], pattern: str, literals: Sequence[str] = ()) -> str:
    """Return the command that looks for texts in files and gives what it found, not the files.

    wanted: paths, which may end with a shell pattern. literals: instead of a pattern, in programs.
    """
    search = f"grep -Eoahi -e {shlex.quote(pattern)}"
    size = f"-size -{HOME_KIB}k"
    if literals:
        search = "grep -Foahm1 " + " ".join(f"-e {shlex.quote(text)}" for text in literals)
        size = f"-size -{PROGRAM_KIB}k"
    commands = [
        f"echo ={number}; find -L {_quote_pattern(path)} -maxdepth 0 -type f {size}"
        f" -exec {search} {{}} + | sort -u | head -n {MOST_TEXTS}"
        for number, path in enumerate(wanted)
    ]
    return _bound_command("\n".join(commands))


def _quote_pattern(path: str) -> str:
    """Return a path for the shell; only what follows its last slash may be a pattern."""
    folder, _, name = path.rpartition("/")
    name = name if re.fullmatch(r"[\w.*-]+", name) else shlex.quote(name)
    return f"{shlex.quote(folder)}/{name}"


def _homes_command(patterns: list[str]) -> str:
    """Return the command that gives small files of users as a compressed tar.

    A path that leads through a user's symlink is left out: the file may be another's. So is what
    is not a regular file, which tar would wait for.
    """
    return (
        f"cd / && for path in {_relative_to_root(patterns)}; do home=${{path%%/.*}};"
        ' rest=${path#"$home"};'
        ' [ "$(readlink -f -- "$path")" = "$(readlink -f -- "$home")$rest" ] &&'
        f' find -P "$path" -type f -size -{HOME_KIB}k -print0; done |'
        f" tar -c --null -T - -f - | gzip -1 | head -c {MOST_BYTES}"
    )


def scripts(named: Iterable[str], run: Iterable[str]) -> list[str]:
    """Return the commands that give those of some files that are scripts, as compressed tars.

    named: files that count if their first line names an interpreter. run: files that a shell runs,
    which count if they are text.
    """
    return [
        _bound_command(
            # An empty file is not a script; it may be a symlink to a kernel file whose read blocks.
            f"find -L {' '.join(map(shlex.quote, sorted(paths)))} -maxdepth 0 -type f ! -empty"
            f" -size -{SCRIPT_KIB}k -print0 | xargs -0 -r grep -lZI -m 1 {pattern} |"
            " tar -ch --null -f - -C / -T - | gzip -1"
        )
        for paths, pattern in ((set(named), "'^#!'"), (set(run), "."))
        if paths
    ]


def _bound_command(command: str) -> str:
    return f"timeout {SECONDS} sh -c {shlex.quote(command)} 2>/dev/null || :"


def evidence() -> list[str]:
    """Return the paths by which mining systems and rental platforms are recognised."""
    systems = json.loads((FACTS / "mining_os.json").read_text())["systems"]
    platforms = json.loads((FACTS / "rental.json").read_text())["platforms"]
    paths = {
        path for system in systems for rule in system["rules"] for path in rule.get("paths", ())
    }
    return sorted(paths | {path for platform in platforms for path in platform["paths"]})


def _relative_to_root(patterns: list[str]) -> str:
    """Return patterns relative to /, the shell's folder: tar accepts these without a warning."""
    return " ".join(pattern.removeprefix("/") for pattern in patterns)
