"""What starts a miner by itself: units, crontabs, scripts of the boot, logins, supervisors."""

from __future__ import annotations

import os
import re
from typing import Iterable, Iterator, Mapping

from provision.remote.facts.command_paths import NamedFile, resolve
from provision.remote.facts.commands import (
    MOST_SCRIPTS,
    commands_of,
    files_named_in,
    files_run_by,
    scripts_of,
    unit_commands,
    unit_environment,
    unit_texts,
)
from provision.remote.facts.mining_evidence import MinerFinding, unit_finding
from provision.remote.facts.mining_signs import Marks, names_path
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    STARTER_SETTINGS,
    drop_ins,
    enabled_instances,
    login_paths,
    paths,
    starters_of,
    unit_files,
)
from provision.remote.facts.tree import Tree

#: Services that run commands of other files: those lines are reported instead.
CARRIERS = ("rc-local.service", "cron.service")
#: Where the distribution's packages put programs: what is there is known by other signs.
PACKAGED = (
    *("/bin/", "/sbin/", "/lib", "/usr/bin/", "/usr/sbin/", "/usr/lib", "/usr/share/"),
    "/snap/",
)
SETTINGS = re.compile(r"(?<![\w$])[\w.~/-]+\.(?:json|conf|cfg|ini|txt|ya?ml|toml|env)\b")
#: Settings beside its program, which a miner reads by itself.
BESIDE = ("config*.json", "config*.txt", "*pools*.txt", "appsettings*.json", "settings*.json")
#: Folders that are not a program's own.
SHARED = re.compile(r"/|/(?:etc|opt|root|home|home/[^/]+|srv|tmp|var/tmp|usr/local/s?bin)")
#: A word that tells where in a file a command is: a program or script.
PROGRAM = re.compile(r"[\w.~$/{}+-]*/[\w.+-]+|[A-Za-z][\w.+-]*")
#: The signs of a program that runs, by each of its files.
Running = Mapping[str, "frozenset[str]"]


def find_starters(tree: Tree, marks: Marks, running: Running) -> Iterator[MinerFinding]:
    """Yield each unit and each line that may start a miner, with its signs.

    running: the signs of programs that run here, by their files.
    """
    yield from _units(tree, marks, running)
    for kind, places in (
        ("cron", paths(tree, CRON_FILES)),
        ("rc.local", paths(tree, BOOT_FILES)),
        ("settings", paths(tree, STARTER_SETTINGS)),
        ("login", login_paths(tree)),
    ):
        yield from _lines(tree, marks, kind, places, running)


def read_signs(marks: Marks, texts: Iterable[str]) -> set[str]:
    """Return the signs that commands and scripts have: names, places, pools, algorithms."""
    signs: set[str] = set()
    for text in texts:
        signs.update(marks.find_names(text).values())
        signs |= marks.find_signs(marks.leave_out_harmless(text))
        if marks.find_places(text):
            signs.add("place")
    return signs


def read_files(
    tree: Tree, marks: Marks, programs: Iterable[NamedFile], settings: Iterable[str] = ()
) -> set[str]:
    """Return the signs in programs and in their settings. settings: paths of further ones.

    Programs of the distribution are not looked into, and neither are the settings beside them.
    """
    signs: set[str] = set()
    wanted = set(settings)
    for file in programs:
        if file.path.startswith(PACKAGED):
            continue
        for place in {os.path.dirname(file.path), file.folder}:
            # Many miners look for their settings beside their program, wherever they run.
            wanted |= {resolve(word, place, file.home) for word in SETTINGS.findall(file.command)}
            if not SHARED.fullmatch(place):
                wanted |= {f"{place}/{name}" for name in BESIDE}
        if tree.holds_text(file.path, marks.program_texts):
            signs.add("program")
    for path in sorted(wanted):
        for text in tree.find_texts(path, marks.setting_texts):
            signs |= marks.find_signs(text)
    return signs


def _units(tree: Tree, marks: Marks, running: Running) -> Iterator[MinerFinding]:
    for name, path in unit_files(tree):
        for drop_in in drop_ins(tree, name):
            signs = _signs_of_unit(tree, marks, drop_in, running)
            if signs != {"start"}:
                yield MinerFinding("drop-in", name, drop_in, frozenset(signs))
        if name in CARRIERS or not tree.is_file(path):
            continue
        signs = _signs_of_unit(tree, marks, path, running)
        signs |= marks.sign_of_name(name[: -len(".service")].rstrip("@"))
        if marks.holds(tree.target(path)):
            signs.add("place")
        if signs != {"start"}:
            resets = any(marks.resets(text) for text in unit_texts(tree, path))
            kind = "watchdog" if resets else "unit"
            yield from unit_rows(tree, name, path, kind, signs)


def _signs_of_unit(tree: Tree, marks: Marks, path: str, running: Running) -> set[str]:
    """Return the signs of a unit's file, or of a drop-in's, in its commands and what they run."""
    commands = unit_commands(tree, path)
    named = files_named_in(tree, path)
    scripts = list(scripts_of(tree, named))
    runs = [*map(_without_arguments, commands), *scripts]
    variables, files = unit_environment(tree, path)
    signs = {"start", *read_signs(marks, runs), *_signs_of_running(runs, running)}
    signs |= marks.find_signs("\n".join((*commands, variables)))
    return signs | read_files(tree, marks, files_run_by(tree, named), files)


def unit_rows(
    tree: Tree, name: str, path: str, kind: str, signs: set[str]
) -> Iterator[MinerFinding]:
    """Yield a unit, or a template's instances, and what starts it: its timer, path or socket."""
    for instance in enabled_instances(tree, name):
        yield unit_finding(instance, path, signs, kind)
    for starter, place in starters_of(tree, name):
        yield MinerFinding("unit", starter, place, frozenset(signs))


def _signs_of_running(texts: Iterable[str], running: Running) -> set[str]:
    """Return the signs of those running programs that texts name."""
    signs: set[str] = set()
    for text in texts:
        for file, others in running.items():
            if names_path(text, file):
                signs |= others
    return signs


def _without_arguments(command: str) -> str:
    """Return the programs and scripts that a unit starts, without other arguments.

    A program may be started by another one: a container by docker, a program by snap.
    """
    words = [word.lstrip("@-:+!\"'") for word in command.split()]
    if words[0].rpartition("/")[2] in ("docker", "podman", "snap", "flatpak", "screen", "tmux"):
        return " ".join(words)
    return " ".join(word for word in words if word.startswith("/") or word == words[0])


def _lines(
    tree: Tree, marks: Marks, kind: str, files: Iterable[str], running: Running
) -> Iterator[MinerFinding]:
    """Yield each line that may run a miner, or a script that does, by a word that it has."""
    for path in files:
        commands = commands_of(tree, path)
        text = "\n".join(commands)
        # Most files have no sign at all: that shows faster than line by line.
        if read_signs(marks, [text]) or _signs_of_running([text], running):
            for command in commands:
                yield from _line(marks, kind, path, command, running)
        named = files_named_in(tree, path)[:MOST_SCRIPTS]
        for file in sorted(set(named), key=lambda file: file.written):
            signs = _signs_of_file(tree, marks, file, running)
            if signs != {"start"} and not marks.find_places(file.written):
                for name in marks.find_names(file.written) or (file.written,):
                    yield MinerFinding(kind, name, path, frozenset(signs))


def _line(
    marks: Marks, kind: str, path: str, command: str, running: Running
) -> Iterator[MinerFinding]:
    """Yield a line by each word in it that names a miner, or else by its program."""
    signs = {"start", *read_signs(marks, [command]), *_signs_of_running([command], running)}
    words = {*marks.find_names(command), *marks.find_places(command)}
    words |= {file for file in running if names_path(command, file)}
    if signs != {"start"}:
        for word in sorted(words or set(PROGRAM.findall(command)[:1])):
            yield MinerFinding(kind, word, path, frozenset(signs))


def _signs_of_file(tree: Tree, marks: Marks, file: NamedFile, running: Running) -> set[str]:
    """Return the signs of a program or script that a line of a file names."""
    scripts = list(scripts_of(tree, [file]))
    signs = {"start", *read_signs(marks, scripts), *_signs_of_running(scripts, running)}
    return signs | read_files(tree, marks, files_run_by(tree, [file]))
