"""A line of limited rate, with a server of files at its other end.

The server is in a network namespace, which a pair of virtual interfaces joins with this machine's
network, where lab rigs and the operator are: all of them share the line. A token bucket (tbf) at
its end limits it. Needs root, iproute2 and the kernel's veth and tbf.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.measure.line_server import Journal
from lab.report import read_output
from lab.verify_advise.netns import BURST_BYTES, QUEUE

ROOT = Path(__file__).parents[2]
NAME = "deeprig-line"  # of the namespace, and of the interface in this machine's network
HERE, SERVER = "169.254.77.1", "169.254.77.2"  # a link of two addresses, which no router has
PORT = 8078
START_SECONDS = 20


@dataclass(frozen=True)
class LimitedLine:
    """The line of a benchmark. megabits: its rate in 10^6 bits per second."""

    megabits: float
    journal: Journal

    @property
    def url(self) -> str:
        """The address of the server, without a slash at its end."""
        return f"http://{SERVER}:{PORT}"

    @property
    def bytes_per_second(self) -> float:
        """The rate."""
        return self.megabits * 1e6 / 8

    def count_bytes(self) -> int:
        """Return how many bytes have passed to this machine, headers of all layers included."""
        shown = json.loads(read_output("ip", "-n", NAME, "-s", "-j", "link", "show", "dev", "eth0"))
        return int(shown[0]["stats64"]["tx"]["bytes"])


@contextmanager
def line(folder: Path, megabits: float, notes: Path) -> Iterator[LimitedLine]:
    """Serve a folder over a line of this rate until the end of the block."""
    _remove()
    made = LimitedLine(megabits, Journal(notes))
    server: subprocess.Popen[bytes] | None = None
    try:
        read_output("ip", "netns", "add", NAME)
        read_output(
            "ip", "link", "add", NAME, "type", "veth", "peer", "name", "eth0", "netns", NAME
        )
        for where, device, address in (
            ([], NAME, HERE),
            (["-n", NAME], "eth0", SERVER),
        ):
            read_output("ip", *where, "addr", "add", f"{address}/30", "dev", device)
            read_output("ip", *where, "link", "set", device, "up")
        limit = ["rate", f"{megabits * 1e6:.0f}bit", "burst", f"{BURST_BYTES}b", "latency", QUEUE]
        read_output("tc", "-n", NAME, "qdisc", "replace", "dev", "eth0", "root", "tbf", *limit)
        command = [sys.executable, "-m", "lab.measure.line_server"]
        words = [str(folder), SERVER, str(PORT), str(notes)]
        server = subprocess.Popen(["ip", "netns", "exec", NAME, *command, *words], cwd=ROOT)
        _wait(made.url, server)
        yield made
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        _remove()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers. Raises LabError."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/cuda/Release", timeout=2):
                return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(
                    f"The server at the end of the line does not answer: {error}"
                ) from None
            time.sleep(0.05)


def _remove() -> None:
    """Remove the namespace; its interface goes with it. The process of a killed run ends."""
    if not Path("/run/netns", NAME).exists():
        return
    for pid in read_output("ip", "netns", "pids", NAME).split():
        subprocess.run(["kill", pid], check=False)
    read_output("ip", "netns", "del", NAME)
