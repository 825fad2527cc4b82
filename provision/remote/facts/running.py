"""The processes of a rig: what each runs, who started it, whether it computes on a GPU."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Iterator

from provision.remote.facts.tree import Tree

#: What a program that computes has open; monitors (nvidia-smi) and X do not.
COMPUTE_DEVICE = "/dev/nvidia-uvm"
SHELLS = ("ash", "bash", "dash", "ksh", "sh", "zsh")


@dataclass(frozen=True)
class Process:
    """One process. words: its command line; unit: the service that it belongs to, or empty."""

    pid: int
    parent: int
    comm: str
    executable: str
    folder: str
    words: tuple[str, ...]
    unit: str
    computes: bool

    @property
    def evidence(self) -> str:
        """How it is named in a list of evidence."""
        return f"pid {self.pid}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it goes by, the most telling first."""
        first = os.path.basename(self.words[0]) if self.words else ""
        return tuple(filter(None, (os.path.basename(self.executable), self.comm, first)))

    @property
    def is_shell(self) -> bool:
        """Whether it is a shell, with a script or without."""
        return any(name.lstrip("-") in SHELLS for name in self.names)

    @property
    def script(self) -> str:
        """The script that a shell runs, as a whole path; `-c` for a command; else empty."""
        if not self.is_shell:
            return ""
        for word in self.words[1:]:
            if re.fullmatch(r"-\w*c", word):
                return "-c"
            if not word.startswith("-"):
                return self.whole(word)
        return ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that it runs: its program under each of its names, and its script."""
        first = self.whole(self.words[0]) if self.words and "/" in self.words[0] else ""
        script = self.script if self.script != "-c" else ""
        return tuple(path for path in (self.executable, first, script) if path)

    def whole(self, path: str) -> str:
        """Return a path as the process means it, from the root on."""
        return os.path.normpath(os.path.join(self.folder or "/", path))


def processes(tree: Tree) -> dict[int, Process]:
    """Return all processes by pid, without the kernel's and those that have ended."""
    candidates = (_process(tree, folder) for folder in tree.processes())
    return {process.pid: process for process in candidates if process is not None}


def ancestors(process: Process, running: dict[int, Process]) -> Iterator[Process]:
    """Return the ancestors of a process, its parent first, without init and the like."""
    seen = {process.pid}
    while process.parent in running and process.parent > 1 and process.parent not in seen:
        process = running[process.parent]
        seen.add(process.pid)
        yield process


def _process(tree: Tree, folder: str) -> Process | None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", tree.text(f"{folder}/status"), re.MULTILINE))
    words = tree.text(f"{folder}/cmdline").split("\0")
    comm = tree.line(f"{folder}/comm")
    executable = tree.target(f"{folder}/exe")
    if status.get("State", "").startswith("Z") or not (comm or executable):
        return None
    group = re.search(r"/([^/\n]+\.service)(?:/|$)", tree.text(f"{folder}/cgroup"), re.MULTILINE)
    return Process(
        pid=int(os.path.basename(folder)),
        parent=int(status.get("PPid", 0)),
        comm=comm,
        executable=re.sub(r" \(deleted\)$", "", executable),
        folder=tree.target(f"{folder}/cwd"),
        words=tuple(word for word in words if word),
        unit=group.group(1) if group else "",
        computes=any(
            tree.target(f"{folder}/fd/{name}") == COMPUTE_DEVICE
            for name in tree.names(f"{folder}/fd")
        ),
    )
