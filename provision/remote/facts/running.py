"""The processes of a rig: what each runs, who started it, whether it computes on a GPU."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Iterator

from provision.remote.facts.tree import Tree

#: What a program that computes has open; monitors (nvidia-smi) and X do not.
COMPUTE_DEVICE = "/dev/nvidia-uvm"
ESTABLISHED = "01"  # proc_net_tcp(5)
CLOCK_TICKS = 100  # USER_HZ, the same on every x86-64 kernel
LONG_SECONDS = 60  # after which the mean of the CPU is meaningful
CONTAINER = re.compile(r"\b(?:docker|libpod|cri-containerd|crio)[-/]([0-9a-f]{12,64})\b")
SHELLS = ("ash", "bash", "dash", "ksh", "sh", "zsh")


@dataclass(frozen=True)
class Process:
    """One process. words: its command line; unit: the service that it belongs to, or empty.

    user_unit: the same of a user's own manager. container: the id of its container, or empty.
    sockets: inodes. cores: of the CPU that it took in the mean since it began, where that is long.
    """

    pid: int
    parent: int
    comm: str
    executable: str
    folder: str
    words: tuple[str, ...]
    unit: str
    user_unit: str
    container: str
    computes: bool
    sockets: tuple[str, ...]
    cores: float

    @property
    def evidence(self) -> str:
        """How it is named in a list of evidence."""
        return f"pid {self.pid}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it goes by, the most telling first."""
        # A program may write its whole command line, with its secrets, into its first word.
        first = os.path.basename(self.words[0].split(" ")[0]) if self.words else ""
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
    up = tree.line("/proc/uptime").split()
    uptime = float(up[0]) if up and re.fullmatch(r"[\d.]+", up[0]) else 0.0
    candidates = (_process(tree, folder, uptime) for folder in tree.processes())
    return {process.pid: process for process in candidates if process is not None}


def ancestors(process: Process, running: dict[int, Process]) -> Iterator[Process]:
    """Return the ancestors of a process, its parent first, without init and the like."""
    seen = {process.pid}
    while process.parent in running and process.parent > 1 and process.parent not in seen:
        process = running[process.parent]
        seen.add(process.pid)
        yield process


def _process(tree: Tree, folder: str, uptime: float) -> Process | None:
    status = dict(re.findall(r"^(\w+):\t(.*)$", tree.text(f"{folder}/status"), re.MULTILINE))
    words = tree.text(f"{folder}/cmdline").split("\0")
    comm = tree.line(f"{folder}/comm")
    executable = tree.target(f"{folder}/exe")
    if status.get("State", "").startswith("Z") or not (comm or executable):
        return None
    group = tree.text(f"{folder}/cgroup")
    units = re.findall(r"/([^/\n]+\.service)(?=/|$)", group, re.MULTILINE)
    is_users = units and units[0].startswith("user@")
    container = CONTAINER.search(group)
    opened = [tree.target(f"{folder}/fd/{name}") for name in tree.names(f"{folder}/fd")]
    return Process(
        pid=int(os.path.basename(folder)),
        parent=int(status.get("PPid", 0)),
        comm=comm,
        executable=re.sub(r" \(deleted\)$", "", executable),
        folder=tree.target(f"{folder}/cwd"),
        words=tuple(word for word in words if word),
        unit=units[0] if units else "",
        user_unit=units[-1] if is_users and len(units) > 1 else "",
        container=container.group(1) if container else "",
        computes=COMPUTE_DEVICE in opened,
        sockets=tuple(name[8:-1] for name in opened if name.startswith("socket:[")),
        cores=_mean_cores(tree.line(f"{folder}/stat"), uptime),
    )


def _mean_cores(stat: str, uptime: float) -> float:
    """Return how many cores a process kept busy since it began (proc(5): utime, stime, starttime).

    Zero for a process that began less than a minute ago.
    """
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or not all(field.isdigit() for field in (*fields[11:13], fields[19])):
        return 0.0
    busy = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    seconds = uptime - int(fields[19]) / CLOCK_TICKS
    return busy / seconds if seconds >= LONG_SECONDS else 0.0


def remote_ports(tree: Tree) -> dict[str, int]:
    """Return the port at the other end of each established TCP connection, by its inode."""
    ports = {}
    for file in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in tree.text(file).splitlines()[1:]:
            cells = line.split()
            if len(cells) > 9 and cells[3] == ESTABLISHED:
                port = cells[2].rpartition(":")[2]
                ports[cells[9]] = int(port, 16) if re.fullmatch(r"[0-9A-Fa-f]{1,4}", port) else 0
    return ports
