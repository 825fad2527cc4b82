"""Programs that run and mine, or may: by what they are, what they do, and who started them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Iterator

from provision.remote.facts.command_paths import NamedFile
from provision.remote.facts.commands import files_run_by, scripts_of
from provision.remote.facts.mining_evidence import EvidenceRow, MinerFinding, entry, unit_finding
from provision.remote.facts.mining_signs import Marks, judge_signs
from provision.remote.facts.running import Process, ancestors, processes, remote_ports
from provision.remote.facts.start_places import USER_UNIT_FOLDERS, unit_files
from provision.remote.facts.starters import PACKAGED, Running, read_files, read_signs
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

BUSY_CORES = 0.7
INTERPRETERS = re.compile(r"(?:python|perl|ruby|node|php)[\d.]*")


@dataclass(frozen=True)
class RunningPrograms:
    """The processes of a rig, and the signs of those that have some, by pid."""

    processes: dict[int, Process]
    signs: dict[int, frozenset[str]]

    def by_file(self) -> Running:
        """Return the signs of programs and scripts, by each of their files.

        Programs that run others, as shells, screen and Python, are left out.
        """
        runners = re.compile("|".join(table("miners.json")["runners"]))
        files: dict[str, frozenset[str]] = {}
        for pid, signs in self.signs.items():
            process = self.processes[pid]
            if judge_signs(signs) and not process.is_shell:
                for path in process.files:
                    if runners.fullmatch(os.path.basename(path)):
                        continue
                    files[path] = files.get(path, frozenset()) | (signs - {"name", "word"})
        return {path: signs for path, signs in files.items() if signs}


def look_at_processes(tree: Tree, marks: Marks) -> RunningPrograms:
    """Return the processes, each with its signs."""
    running = processes(tree)
    lists = table("miners.json")
    harmless = re.compile("|".join(lists["gpu_programs"]), re.IGNORECASE)
    ports = remote_ports(tree)
    signs = {}
    for process in running.values():
        kinds = _signs(tree, marks, process, ports)
        is_work = any(harmless.fullmatch(name) for name in process.names) or any(
            folder in path for path in process.files for folder in lists["gpu_folders"]
        )
        if process.computes and not is_work:
            kinds.add("gpu")
        if kinds:
            kinds |= _signs_of_files(tree, marks, process)
        signs[process.pid] = frozenset(kinds)
    return RunningPrograms(running, {pid: kinds for pid, kinds in signs.items() if kinds})


def _signs(tree: Tree, marks: Marks, process: Process, ports: dict[str, int]) -> set[str]:
    signs: set[str] = set()
    if not process.is_shell:
        name = next((sign for name in process.names if (sign := marks.sign_of_name(name))), None)
        signs |= name or set()
    if any(marks.holds(path) for path in process.files):
        signs.add("place")
    command = " ".join(process.words)
    if process.script != "-c":
        signs |= marks.find_signs(marks.leave_out_harmless(command))
    if any(ports.get(inode) in marks.ports for inode in process.sockets):
        signs.add("port")
    if process.cores >= BUSY_CORES:
        signs.add("cpu")
    if script := script_file(process):
        signs |= read_signs(marks, scripts_of(tree, [script]))
    # What hardly anything else is called, and no package of the distribution brought.
    if "name" in signs and not process.executable.startswith(PACKAGED):
        signs.add("start")
    return signs


def script_file(process: Process) -> NamedFile | None:
    """Return the script that a shell or another interpreter runs; None: it runs none."""
    if process.is_shell:
        path = process.script if process.script != "-c" else ""
    elif process.words[1:] and INTERPRETERS.fullmatch(process.names[0]):
        path = next((word for word in process.words[1:] if not word.startswith("-")), "")
    else:
        path = ""
    if not path:
        return None
    return NamedFile(process.whole(path), path, process.folder or "/", "/root", is_run=True)


def _signs_of_files(tree: Tree, marks: Marks, process: Process) -> set[str]:
    """Return the signs in the program's own file and its settings."""
    folder = process.folder or "/"
    command = " ".join(process.words)
    files = [NamedFile(path, path, folder, "/root", True, command) for path in process.files]
    return read_files(tree, marks, files_run_by(tree, files))


def find_running(tree: Tree, marks: Marks, programs: RunningPrograms) -> Iterator[MinerFinding]:
    """Yield each program that may mine, with what would start it again before it."""
    units = dict(unit_files(tree))
    carriers = re.compile("|".join(table("miners.json")["carrier_units"]))
    for process in programs.processes.values():
        signs = programs.signs.get(process.pid, frozenset())
        session = _session(process)
        if session is not None:
            if kinds := marks.sign_of_name(session):
                # A session of a miner's name holds one.
                yield MinerFinding("screen", session, process.evidence, kinds | {"gpu"})
        elif judge_signs(signs):
            yield from _unit_of(process, units, carriers, signs)
            yield from _user_unit_of(tree, process, signs)
            yield from _started_by(process, programs.processes, signs)
            yield MinerFinding(_kind(signs), _name(process, marks), process.evidence, signs)


def _kind(signs: frozenset[str]) -> str:
    """Return `gpu` for a program of which only that is known that it computes on a GPU."""
    return "gpu" if signs <= {"gpu", "cpu", "start"} else "process"


def _name(process: Process, marks: Marks) -> str:
    """Return the name by which it is known, or else its first one."""
    for name in process.names:
        if marks.sign_of_name(name):
            return name
    if process.script and process.script != "-c":
        return os.path.basename(process.script)
    return process.names[0]


def _unit_of(
    process: Process, units: dict[str, str], carriers: re.Pattern[str], signs: frozenset[str]
) -> Iterator[MinerFinding]:
    """Yield the unit in whose control group it runs, unless that starts programs of others."""
    if process.user_unit:
        return
    template = re.sub(r"@.*(?=\.service$)", "@", process.unit)
    path = units.get(process.unit) or units.get(template)
    if path and not carriers.fullmatch(process.unit[: -len(".service")]):
        finding = unit_finding(process.unit, path, signs)
        # What the rig needs is not the miner's because a miner was started from it.
        yield from [finding] if finding.kind == "unit" else []


def _user_unit_of(tree: Tree, process: Process, signs: frozenset[str]) -> Iterator[MinerFinding]:
    """Yield the unit of a user's own manager that it runs in."""
    if process.user_unit:
        name = re.sub(r"@.*(?=\.service$)", "@", process.user_unit)
        for folder in USER_UNIT_FOLDERS:
            for path in tree.glob(f"{folder}/{name}"):
                yield MinerFinding("login", process.user_unit, path, signs)


def _session(process: Process) -> str | None:
    """Return the name of the session that a screen's server keeps; None: it is none."""
    if not process.words or process.words[0] != "SCREEN":
        return None
    match = re.search(r"\s-\w*S\s+(\S+)", " ".join(process.words))
    return match.group(1) if match else ""


def _started_by(
    process: Process, running: dict[int, Process], signs: frozenset[str]
) -> Iterator[MinerFinding]:
    """Return what would start it again: parent scripts, and its session."""
    starters = []
    child = process
    for parent in ancestors(process, running):
        session = _session(parent)
        if session is not None:
            starters.append(MinerFinding("screen", session, parent.evidence, signs))
            break
        if parent.comm.startswith("tmux"):
            # One server keeps all sessions of a user: only this one's shell is to go.
            match = re.search(r"\s-s\s+(\S+)", " ".join(parent.words))
            name = match.group(1) if match else "tmux"
            starters.append(MinerFinding("tmux", name, child.evidence, signs))
            break
        if not parent.script:
            break
        script = os.path.basename(parent.script)
        name = "sh" if script == "-c" else script
        starters.append(MinerFinding("process", name, parent.evidence, signs))
        child = parent
    return reversed(starters)


def find_gpu_work(programs: RunningPrograms) -> list[EvidenceRow]:
    """Return programs that compute on a GPU and are a user's work: no miner, no suspect.

    What shows a desktop or watches the GPUs is left out.
    """
    lists = table("miners.json")
    services = re.compile("|".join(lists["gpu_services"]), re.IGNORECASE)
    return [
        entry("work", _work_name(process), process.evidence)
        for process in programs.processes.values()
        if process.computes
        and not judge_signs(programs.signs.get(process.pid, frozenset()))
        and not any(services.fullmatch(name) for name in process.names)
    ]


def _work_name(process: Process) -> str:
    """Return the program's name, of an interpreter with its script."""
    scripts = (word for word in process.words[1:] if word.endswith((".py", ".jl", ".jar", ".sh")))
    script = os.path.basename(next(scripts, ""))
    return f"{process.names[0]} {script}".strip()
