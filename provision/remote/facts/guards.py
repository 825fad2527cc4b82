"""What guards a miner: units and cron jobs that reset the rig when it does not mine."""

from __future__ import annotations

import os
from typing import Iterator

from provision.remote import dpkg
from provision.remote.facts.commands import (
    commands_of,
    files_named_in,
    scripts_of,
    unit_texts,
)
from provision.remote.facts.mining_evidence import MinerFinding
from provision.remote.facts.mining_signs import Marks
from provision.remote.facts.running_miners import RunningPrograms, script_file
from provision.remote.facts.start_places import CRON_FILES, drop_ins, paths, unit_files
from provision.remote.facts.starters import PROGRAM, unit_rows
from provision.remote.facts.tree import Tree

#: Units of the machine's administrator, and where such a unit may be a link to a package's.
OF_ADMINISTRATORS = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/")
OF_PACKAGES = ("/lib/", "/usr/lib/")


def find_guards(
    tree: Tree, marks: Marks, packages: dpkg.Database, programs: RunningPrograms
) -> Iterator[MinerFinding]:
    """Yield units, cron jobs and scripts that can reset the rig; those of packages are left out.

    A guard that also watches whether the rig works resets an idle host for ever: it counts as sure,
    though it names no miner. A job that only resets, as at night, may be the owner's.
    """
    for name, path in unit_files(tree):
        if path.startswith(OF_ADMINISTRATORS) and not tree.target(path).startswith(OF_PACKAGES):
            files = [path, *drop_ins(tree, name)]
            texts = [text for file in files for text in unit_texts(tree, file)]
            if signs := _signs(marks, texts):
                yield from unit_rows(tree, name, path, "watchdog", signs)
    for process in programs.processes.values():
        script = script_file(process)
        if script and "watch" in _signs(marks, scripts_of(tree, [script])):
            name = os.path.basename(script.path)
            yield MinerFinding("process", name, process.evidence, frozenset({"reset", "watch"}))
    for path in paths(tree, CRON_FILES):
        if packages.is_conffile(path):
            continue
        for command in commands_of(tree, path):
            if signs := _signs(marks, [command]):
                yield MinerFinding("cron", _word(marks, command), path, frozenset(signs))
        for file in files_named_in(tree, path):
            if marks.find_places(file.written):
                continue  # the line is found by its place
            if signs := _signs(marks, scripts_of(tree, [file])):
                yield MinerFinding("cron", file.written, path, frozenset(signs))


def _signs(marks: Marks, texts: Iterator[str] | list[str]) -> set[str]:
    text = "\n".join(texts)
    if not marks.resets(text):
        return set()
    # `watch` is the second piece of evidence.
    return {"reset", "watch"} if marks.watches(text) else {"reset"}


def _word(marks: Marks, command: str) -> str:
    """Return the word by which the line is found again: the program that resets, or the first."""
    match = marks.resetting.search(command)
    words: list[str] = PROGRAM.findall(command)
    resetting = [word for word in words if match and match.group(0).split()[0] in word]
    return (resetting or words or [command[:40]])[0]
