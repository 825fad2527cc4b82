"""A network for ranks: one namespace each, joined by a bridge, with links limited by tc.

The bridge has its own namespace, so nothing of the machine's network is touched and no
traffic leaves. Both ends of each link are limited by a token bucket (tbf), as both directions of a
PCIe link are. Needs root, iproute2 and the kernel's veth, bridge and tbf.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.report import read_output
from lab.rigs import process

PREFIX = (
    "deeprig-net-"  # of our namespaces, then the pid and the kernel's start time of their owner
)
INTERFACE = "eth0"  # a rank's, inside its namespace
# Bytes that may pass at once. 64 KiB starve a link from 1 Gbit/s on (a quarter of it is left), and
# 1 MiB flatters messages of as much; measured by all-reduces of 1 to 16 MiB.
BURST_BYTES = 262144
QUEUE = "50ms"  # of waiting: enough that TCP loses nothing to speak of


@dataclass(frozen=True)
class LimitedNetwork:
    """Namespaces of a run. ranks: their names, by rank."""

    base: str
    ranks: tuple[str, ...]

    @property
    def bridge(self) -> str:
        """The namespace that holds the bridge."""
        return f"{self.base}bridge"

    def address(self, rank: int) -> str:
        """The IPv4 address of a rank."""
        return f"10.99.0.{rank + 1}"

    def limit(self, megabits: float) -> None:
        """Limit both directions of every link to a rate (10^6 bits per second)."""
        for rank, namespace in enumerate(self.ranks):
            for where, device in ((namespace, INTERFACE), (self.bridge, f"port{rank}")):
                read_output(
                    "tc",
                    "-n",
                    where,
                    "qdisc",
                    "replace",
                    "dev",
                    device,
                    "root",
                    "tbf",
                    "rate",
                    f"{megabits * 1e6:.0f}bit",
                    "burst",
                    f"{BURST_BYTES}b",
                    "latency",
                    QUEUE,
                )

    def start(
        self, rank: int, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a program in a rank's namespace and in a new session; its output goes to `log`."""
        with log.open("wb") as stream:
            return subprocess.Popen(
                # With priority over other programs, whose load would distort the measurement.
                ["nice", "-n", "-15", "ip", "netns", "exec", self.ranks[rank], *command],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )


@contextmanager
def network(ranks: int) -> Iterator[LimitedNetwork]:
    """Create the namespaces; after the block, remove them and the processes in them."""
    clear()
    owner = f"{os.getpid()}-{process.start_time(os.getpid())}-"
    base = f"{PREFIX}{owner}"
    made = LimitedNetwork(base, tuple(f"{base}{rank}" for rank in range(ranks)))
    try:
        read_output("ip", "netns", "add", made.bridge)
        read_output("ip", "-n", made.bridge, "link", "add", "bridge", "type", "bridge")
        read_output("ip", "-n", made.bridge, "link", "set", "bridge", "up")
        for rank, namespace in enumerate(made.ranks):
            read_output("ip", "netns", "add", namespace)
            read_output(
                "ip",
                "-n",
                made.bridge,
                "link",
                "add",
                f"port{rank}",
                "type",
                "veth",
                "peer",
                "name",
                INTERFACE,
                "netns",
                namespace,
            )
            read_output(
                "ip", "-n", made.bridge, "link", "set", f"port{rank}", "master", "bridge", "up"
            )
            read_output("ip", "-n", namespace, "link", "set", "lo", "up")
            read_output(
                "ip", "-n", namespace, "addr", "add", f"{made.address(rank)}/24", "dev", INTERFACE
            )
            read_output("ip", "-n", namespace, "link", "set", INTERFACE, "up")
        yield made
    finally:
        _remove([made.bridge, *made.ranks])


def find_obstacle() -> str:
    """Return why such a network cannot be created here, or "". Creates and removes one."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with network(1) as made:
            made.limit(1000)
    except (LabError, OSError) as error:
        return str(error)
    return ""


def clear() -> None:
    """Remove the networks of runs that were killed, but not those of runs that are alive."""
    left = []
    for name in _names():
        pid, _, rest = name.removeprefix(PREFIX).partition("-")
        started = rest.partition("-")[0]
        if not pid.isdigit() or process.start_time(int(pid)) != started:
            left.append(name)
    _remove(left)


def _names() -> list[str]:
    folder = Path("/run/netns")
    return [path.name for path in folder.glob(f"{PREFIX}*")] if folder.is_dir() else []


def _remove(names: Sequence[str]) -> None:
    there = set(_names())
    for name in names:
        if name in there:
            _end_all(name)
            read_output("ip", "netns", "del", name)


def _end_all(namespace: str) -> None:
    """Kill every process in a namespace, since they keep it and its interfaces alive."""
    deadline = time.monotonic() + 10
    while pids := read_output("ip", "netns", "pids", namespace).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"Processes {', '.join(pids)} in {namespace} do not end.")
        time.sleep(0.05)
