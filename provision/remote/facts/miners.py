"""What starts, or is, a miner: the units, lines, logins, processes and containers of a rig.

Each is {kind, name, evidence}. kind: `watchdog` (a unit that resets the rig when the miner stops)
and `unit`; `cron`, `rc.local` and `login` (a line that holds the name, of the file that is the
evidence); `essential` (a unit that was tampered with, and without which the rig is lost);
`autologin` (a getty's drop-in); `process`, `screen`, `tmux` and `gpu` (`pid N`; a gpu's
program is not a known miner, but computes on one); `docker` (a container). This finds names
and paths only: settings and arguments of miners hold wallets and passwords.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, TypedDict

from provision.remote.facts.commands import (
    INIT_SCRIPTS,
    commands_of,
    files_named_in,
    scripts_of,
    unit_commands,
)
from provision.remote.facts.running import Process, ancestors, processes
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree

UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
CRON_FILES = (
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d/*",
    "/etc/cron.hourly/*",
    "/etc/cron.daily/*",
    "/etc/cron.weekly/*",
    "/etc/cron.monthly/*",
    "/var/spool/cron/crontabs/*",
    "/var/spool/cron/*",
)
BOOT_FILES = ("/etc/rc.local", "/etc/rc.d/rc.local")
LOGIN_FILES = (".bash_profile", ".profile", ".bashrc", ".xprofile", ".xinitrc")
LOGIN_FOLDERS = ("/root", "/home/*")
AUTOSTART = (
    ".config/autostart/*.desktop",
    ".config/lxsession/*/autostart",
    ".config/systemd/user/*.service",
)
SYSTEM_LOGIN_FILES = ("/etc/profile", "/etc/profile.d/*.sh", "/etc/bash.bashrc")
#: Services that run commands of other files: those lines are reported instead.
CARRIERS = ("rc-local.service", "cron.service")
#: What starts a unit of the same name.
STARTERS = (".timer", ".path", ".socket")
RESETS = re.compile(r"\breboot\b|sysrq|\bshutdown\b.*-r\b|\bpoweroff\b")
#: How a script sees whether the rig works.
WATCHES = re.compile(
    r"\b(nvidia-smi|nvtop|gpustat|rocm-smi|mpstat|vmstat|iostat|sar|uptime|top|sensors)\b|"
    r"/proc/(stat|loadavg)\b|gpu_busy_percent|\b(hashrate|utilization|power\.draw)\b"
)
#: Units of the machine's administrator, and where such a unit may be a link to a package's.
OF_ADMINISTRATORS = ("/etc/systemd/system/", "/usr/local/lib/systemd/system/")
OF_PACKAGES = ("/lib/", "/usr/lib/")
#: What a download adds to a program's name: its version, its processor, its system.
BUILD = re.compile(
    r"(?:[-_.]?v?\d+(?:[._]\d+)+[\w.+-]*|[-_](?:avx|sse|aes|zen|cuda|linux|static|x64|x86_64|amd64)"
    r"[\w.+-]*)?(?:\.exe)?$"
)
#: A word that is not a parent folder: /home/miner/notes does not name a miner.
WORD = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*(?![\w.+/-])")
#: `miner` is a user's name as well: it counts as a program of that name, or as a screen.
AMBIGUOUS_WORDS = {"miner"}
AMBIGUOUS = re.compile(r"(?<=/)(?<!/home/)miner(?![\w./+-])|\bscreen\b.*\sminer\b")


class EvidenceRow(TypedDict):
    """A program, file or key that starts a miner or grants access. evidence: where it is."""

    kind: str
    name: str
    evidence: str


@dataclass(frozen=True)
class Marks:
    """By what a miner is known.

    programs: names, in lower case. folders: where the rig's mining system lives. files: programs
    that run here and that only their GPU gives away. arguments: of a command line.
    """

    programs: frozenset[str]
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    arguments: re.Pattern[str] = re.compile(r"(?!)")

    def find_names(self, text: str) -> list[str]:
        """Return the miners, folders and files that a command line or script names."""
        words = set(WORD.findall(text))
        names = {word for word in words if self.is_miner(word) and not _is_ambiguous(word)}
        names.update(match.group(0) for match in AMBIGUOUS.finditer(text))
        places = (place for place in (*self.folders, *self.files) if _holds(text, place))
        return sorted({*names, *places})

    def is_miner(self, program: str) -> bool:
        """Return whether a program's name is a miner's."""
        return BUILD.sub("", program.lower()) in self.programs

    def holds(self, path: str) -> bool:
        """Return whether a file belongs to the rig's mining system."""
        return any(path == place or path.startswith(f"{place}/") for place in self.folders)


def miners(tree: Tree, folders: Iterable[str] = ()) -> list[EvidenceRow]:
    """Return miners and what starts them, each once. folders: of the rig's mining system."""
    lists = table("miners.json")
    running = processes(tree)
    marks = Marks(
        frozenset(lists["programs"]),
        tuple(folders),
        arguments=re.compile("|".join(lists["arguments"])),
    )
    harmless = re.compile("|".join(lists["gpu_programs"]), re.IGNORECASE)
    unnamed = [
        process
        for process in running.values()
        if process.computes
        and not _mines(process, marks)
        and not any(harmless.fullmatch(name) for name in process.names)
    ]
    files = (path for process in unnamed for path in process.files if not process.is_shell)
    marks = Marks(marks.programs, marks.folders, tuple(files), marks.arguments)
    reasons = [
        *_units(tree, marks),
        *_lines(tree, marks, "cron", paths(tree, CRON_FILES)),
        *_lines(tree, marks, "rc.local", paths(tree, BOOT_FILES)),
        *_lines(tree, marks, "login", login_paths(tree)),
        *_running(tree, running, marks, unnamed),
        *_containers(tree, lists["images"]),
    ]
    if (
        reasons or marks.folders
    ):  # on a rig that mines it is the miner's; elsewhere the owner's choice
        reasons.extend(_autologins(tree))
        reasons.extend(_guards(tree))
    unique = {(reason["kind"], reason["name"], reason["evidence"]): reason for reason in reasons}
    # The watchdog's own process has a control group, too.
    return [
        reason
        for (kind, name, place), reason in unique.items()
        if kind != "unit" or ("watchdog", name, place) not in unique
    ]


def entry(kind: str, name: str, evidence: str) -> EvidenceRow:
    """Return one row of evidence."""
    return {"kind": kind, "name": name, "evidence": evidence}


def unit_entry(name: str, path: str, kind: str = "unit") -> EvidenceRow:
    """Return the row of a unit. `essential`: the rig is unreachable without it; never stop it."""
    essential = re.compile("|".join(table("miners.json")["essential_units"]), re.IGNORECASE)
    stem = name[: -len(".service")]
    return entry("essential" if essential.fullmatch(stem) else kind, name, path)


def _is_ambiguous(word: str) -> bool:
    return BUILD.sub("", word.lower()) in AMBIGUOUS_WORDS


def _holds(text: str, path: str) -> bool:
    """Return whether a text names a path, or one below it."""
    return re.search(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", text) is not None


def paths(tree: Tree, patterns: Iterable[str]) -> Iterator[str]:
    """Yield the paths that match, pattern by pattern."""
    for pattern in patterns:
        yield from tree.glob(pattern)


def login_paths(tree: Tree) -> Iterator[str]:
    """Yield the files that a login reads."""
    yield from paths(tree, SYSTEM_LOGIN_FILES)
    for folder in LOGIN_FOLDERS:
        yield from paths(tree, (f"{folder}/{name}" for name in (*LOGIN_FILES, *AUTOSTART)))


def unit_files(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield the name and path of each service that is not masked, as systemd finds it."""
    seen = set()
    for folder in UNIT_FOLDERS:
        for name in tree.names(folder):
            if name.endswith(".service") and name not in seen:
                seen.add(name)
                path = f"{folder}/{name}"
                if tree.target(path) != "/dev/null":
                    yield name, path
    for script in tree.names(INIT_SCRIPTS):
        if f"{script}.service" not in seen:
            yield f"{script}.service", f"{INIT_SCRIPTS}/{script}"


def _units(tree: Tree, marks: Marks) -> Iterator[EvidenceRow]:
    for name, path in unit_files(tree):
        if name in CARRIERS or not tree.is_file(path):
            continue
        stem = name[: -len(".service")]
        runs = [
            *map(_without_arguments, unit_commands(tree, path)),
            *scripts_of(tree, files_named_in(tree, path)),
        ]
        linked = marks.holds(tree.target(path))
        is_known = marks.is_miner(stem.rstrip("@"))
        if not (linked or is_known or any(marks.find_names(text) for text in runs)):
            continue
        resets = any(RESETS.search(text) for text in runs)
        yield from _unit_rows(tree, name, path, "watchdog" if resets else "unit")


def _unit_rows(tree: Tree, name: str, path: str, kind: str) -> Iterator[EvidenceRow]:
    """Yield a unit, or a template's instances, and what starts it: its timer, path or socket."""
    stem = name[: -len(".service")]
    for instance in _instances(tree, name):
        yield unit_entry(instance, path, kind)
    for suffix in STARTERS:
        for folder in UNIT_FOLDERS:
            starter = f"{folder}/{stem}{suffix}"
            if tree.exists(starter) and tree.target(starter) != "/dev/null":
                yield entry("unit", f"{stem}{suffix}", starter)
                break


def _guards(tree: Tree) -> Iterator[EvidenceRow]:
    """Yield units and cron jobs that watch whether the rig works, and can reset it.

    They name no miner, but would reset an idle host for ever. A package's units are left out.
    """
    for name, path in unit_files(tree):
        if path.startswith(OF_ADMINISTRATORS) and not tree.target(path).startswith(OF_PACKAGES):
            scripts = scripts_of(tree, files_named_in(tree, path))
            if _is_guard([*unit_commands(tree, path), *scripts]):
                yield from _unit_rows(tree, name, path, "watchdog")
    for path in paths(tree, CRON_FILES):
        for file in files_named_in(tree, path):
            if _is_guard(scripts_of(tree, [file])):
                yield entry("cron", file.written, path)


def _is_guard(texts: Iterable[str]) -> bool:
    text = "\n".join(texts)
    return RESETS.search(text) is not None and WATCHES.search(text) is not None


def _instances(tree: Tree, name: str) -> list[str]:
    """Return the enabled instances of a template; of any other unit, its own name."""
    prefix, at, _ = name.partition("@.service")
    if not at:
        return [name]
    links = (path.rpartition("/")[2] for path in tree.glob(f"{UNIT_FOLDERS[0]}/*.wants/*.service"))
    return sorted({link for link in links if link.startswith(f"{prefix}@") and link != name})


def _without_arguments(command: str) -> str:
    """Return the programs and scripts that a unit starts, without other arguments."""
    words = [word.lstrip("@-:+!\"'") for word in command.split()]
    return " ".join(word for word in words if word.startswith("/") or word == words[0])


def _lines(tree: Tree, marks: Marks, kind: str, files: Iterable[str]) -> Iterator[EvidenceRow]:
    """Yield each line that names a miner, or a script that does."""
    for path in files:
        text = "\n".join(commands_of(tree, path))
        for name in marks.find_names(text):
            yield entry(kind, name, path)
        for file in sorted(files_named_in(tree, path), key=lambda file: file.written):
            if marks.find_names(file.written):
                continue
            scripts = scripts_of(tree, [file])
            if any(marks.find_names(script) for script in scripts):
                yield entry(kind, file.written, path)


def _autologins(tree: Tree) -> Iterator[EvidenceRow]:
    for path in tree.glob("/etc/systemd/system/*getty@*.service.d/*.conf"):
        match = re.search(r"--autologin[ =](\S+)", tree.text(path))
        if match:
            yield entry("autologin", match.group(1), path)


def _mines(process: Process, marks: Marks) -> str:
    """Return the name of the miner or mining service that a process is, or an empty text."""
    for name in process.names:
        if marks.is_miner(name):
            return name
    if any(marks.holds(path) for path in process.files):
        return os.path.basename(process.script) if process.script else process.names[0]
    if marks.arguments.search(" ".join(process.words)):
        return process.names[0]
    return ""


def _running(
    tree: Tree, running: dict[int, Process], marks: Marks, unnamed: list[Process]
) -> Iterator[EvidenceRow]:
    units = dict(unit_files(tree))
    carriers = re.compile("|".join(table("miners.json")["carrier_units"]))
    for process in running.values():
        session = _session(process)
        name = _mines(process, marks)
        if session is not None:
            if marks.is_miner(session):
                yield entry("screen", session, process.evidence)
        elif process in unnamed:
            yield from _started_by(process, running)
            yield entry("gpu", process.names[0], process.evidence)
        elif name:
            template = re.sub(r"@.*(?=\.service$)", "@", process.unit)
            path = units.get(process.unit) or units.get(template)
            stem = process.unit[: -len(".service")]
            if path and not carriers.fullmatch(stem):
                row = unit_entry(process.unit, path)
                # What the rig needs is not the miner's because a miner was started from it.
                yield from [row] if row["kind"] == "unit" else []
            yield from _started_by(process, running)
            yield entry("process", name, process.evidence)


def _session(process: Process) -> str | None:
    """Return the name of the session that a screen's server keeps; None: it is none."""
    if not process.words or process.words[0] != "SCREEN":
        return None
    match = re.search(r"\s-\w*S\s+(\S+)", " ".join(process.words))
    return match.group(1) if match else ""


def _started_by(process: Process, running: dict[int, Process]) -> Iterator[EvidenceRow]:
    """Return what would start it again: parent scripts, and its session."""
    starters = []
    child = process
    for parent in ancestors(process, running):
        session = _session(parent)
        if session is not None:
            starters.append(entry("screen", session, parent.evidence))
            break
        if parent.comm.startswith("tmux"):
            # One server keeps all sessions of a user: only this one's shell is to go.
            match = re.search(r"\s-s\s+(\S+)", " ".join(parent.words))
            starters.append(entry("tmux", match.group(1) if match else "tmux", child.evidence))
            break
        if not parent.script:
            break
        script = os.path.basename(parent.script)
        starters.append(entry("process", "sh" if script == "-c" else script, parent.evidence))
        child = parent
    return reversed(starters)


def _containers(tree: Tree, images: list[str]) -> Iterator[EvidenceRow]:
    """Containers of miners that run, or start with the machine."""
    for path in tree.glob("/var/lib/docker/containers/*/config.v2.json"):
        container = _document(tree, path)
        host = _document(tree, f"{os.path.dirname(path)}/hostconfig.json")
        image = str(_value_at(container, "Config", "Image"))
        restart = str(_value_at(host, "RestartPolicy", "Name")) or "no"
        active = _value_at(container, "State", "Running") is True or restart != "no"
        if active and any(part in image.lower() for part in images):
            yield entry("docker", str(container.get("Name", "")).lstrip("/"), f"image {image}")


def _document(tree: Tree, path: str) -> dict[str, Any]:
    try:
        content = json.loads(tree.text(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _value_at(document: dict[str, Any], *keys: str) -> Any:
    value: Any = document
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else ""
    return value
