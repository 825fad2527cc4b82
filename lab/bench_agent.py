"""`make bench`, second part: the agent against two exporters that people run today, in one run.

nvitop-exporter and Debian's prometheus-node-exporter, side by side with ours on the simulated three
RTX 3090s (lab/simulated.py). Turn by turn, medians of five rounds; what counts is their ratios.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.table import Table

from lab import image, simulated, tools
from lab.errors import LabError
from lab.hardware import Hardware
from lab.host import free_port
from lab.report import console, say, step
from lab.simulated import Simulated

ROOT = Path(__file__).parents[1]
SCRAPES, ROUNDS, REST_SECONDS = 300, 5, 20
START_SECONDS = 20
NVITOP = "nvitop-exporter==1.7.2"
#: As Prometheus 2.42 asks.
ASKED = (
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Prometheus/2.42.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
    b"version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n"
)
#: The promises.
SERIES_LEAST, SHARE_MOST, P99_MOST_MS, RESIDENT_MOST_MIB, REST_MOST = 300, 0.1, 2.0, 45, 0.005
EIGHT_MOST = 1.5


@dataclass
class Exporter:
    """One that is measured: how it is started, and what came out, a value a round."""

    name: str
    command: Sequence[str | Path]
    port: int
    environment: dict[str, str]
    kept: list[list[float]] = field(default_factory=list)  # seconds of each keep-alive scrape
    anew: list[list[float]] = field(default_factory=list)  # of each that connects
    cpu: list[float] = field(default_factory=list)  # seconds a scrape
    series: int = 0
    resident: float = 0  # MiB of all its processes
    rest: float = 0  # cores at rest


def python() -> Path:
    """Debian's own Python, as on a rig, with the agent's packages and the other exporter's."""
    folder = image.cache().parent / "bench-python"
    requirements = ROOT / "agent/requirements.txt"
    wanted = [requirements.read_text(), NVITOP]
    stamp = folder / "packages"
    if not stamp.exists() or stamp.read_text() != repr(wanted):
        with step("Python packages for the benchmark"):
            shutil.rmtree(folder, ignore_errors=True)
            system = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
            for command in (
                [system, "-m", "venv", str(folder)],
                [
                    str(folder / "bin/pip"),
                    "install",
                    "-q",
                    "--require-hashes",
                    "-r",
                    str(requirements),
                ],
                [str(folder / "bin/pip"), "install", "-q", NVITOP],
            ):
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise LabError(f"`{' '.join(command)}` failed: {done.stderr}")
            stamp.write_text(repr(wanted))
    return folder / "bin/python"


@contextlib.contextmanager
def running(exporters: Sequence[Exporter]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start them and wait until each answers; end them after the block."""
    started = [
        subprocess.Popen(
            list(map(str, one.command)), env=one.environment, cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for one in exporters
    ]  # fmt: skip
    try:
        for one in exporters:
            deadline = time.monotonic() + START_SECONDS
            while not answers(one.port):
                if time.monotonic() > deadline:
                    raise LabError(f"{one.name} does not answer on port {one.port}.")
                time.sleep(0.05)
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=10)


def answers(port: int) -> bool:
    """Whether a scrape succeeds."""
    try:
        return b"# TYPE" in gzip.decompress(scrape(connect(port), keep=False))
    except (OSError, ValueError):
        return False


def connect(port: int) -> socket.socket:
    """A connection as Prometheus makes it."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def scrape(connection: socket.socket, *, keep: bool) -> bytes:
    """One scrape's body, by a client that costs next to nothing; the same for all exporters."""
    close = b"" if keep else b"Connection: close\r\n"
    connection.sendall(ASKED + close + b"\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"content-length:" in lower:
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += receive(connection)
    elif b"transfer-encoding: chunked" in lower:
        while not body.endswith(b"\r\n0\r\n\r\n"):
            body += receive(connection)
        body = unchunked(body)
    else:  # HTTP/1.0: until it closes
        while part := connection.recv(1 << 18):
            body += part
    if not keep:
        connection.close()
    return body


def unchunked(data: bytes) -> bytes:
    """A chunked body in one piece."""
    found = b""
    while data:
        length, _, data = data.partition(b"\r\n")
        size = int(length, 16)
        found, data = found + data[:size], data[size + 2 :]
    return found


def receive(connection: socket.socket) -> bytes:
    """Some bytes. Raises ValueError at the end."""
    part = connection.recv(1 << 18)
    if not part:
        raise ValueError("the connection was closed")
    return part


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and its children, threads that ended included."""
    # The kernel's clock of another process: clock_getcpuclockid(3), as glibc makes it.
    return sum(time.clock_gettime((~member << 3) | 2) for member in family(pid))


def resident_mib(pid: int) -> float:
    """Resident memory of a process and its children, shared pages counted in each."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total / 1024


def measure(one: Exporter, pid: int) -> None:
    """One round: 300 scrapes over one connection where that is kept, 300 that connect."""
    before = cpu_seconds(pid)
    times, connection = [], connect(one.port)
    for _ in range(SCRAPES):
        began = time.perf_counter()
        try:
            body = scrape(connection, keep=True)
        except (OSError, ValueError):  # one that closes although it was asked not to
            connection = connect(one.port)
            body = scrape(connection, keep=True)
        times.append(time.perf_counter() - began)
    connection.close()
    one.kept.append(times)
    times = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        scrape(connect(one.port), keep=False)
        times.append(time.perf_counter() - began)
    one.anew.append(times)
    one.cpu.append((cpu_seconds(pid) - before) / (2 * SCRAPES))
    lines = gzip.decompress(body).splitlines()
    one.series = sum(not line.startswith(b"#") for line in lines)


def at_rest(exporters: Sequence[Exporter], processes: list[subprocess.Popen[bytes]]) -> None:
    """CPU and memory while nobody scrapes."""
    before = [cpu_seconds(process.pid) for process in processes]
    time.sleep(REST_SECONDS)  # the measurement itself, not a wait for something
    for one, process, spent in zip(exporters, processes, before, strict=True):
        one.rest = (cpu_seconds(process.pid) - spent) / REST_SECONDS
        one.resident = resident_mib(process.pid)


def percentile(rounds: list[list[float]], share: float) -> float:
    """The median over the rounds of each one's percentile, in ms."""
    return statistics.median(
        sorted(times)[min(int(len(times) * share), len(times) - 1)] for times in rounds
    ) * 1e3  # fmt: skip


def eight_gpus() -> Hardware:
    """The seed rig's cards, eight of them, each on a root port of its own."""
    ports = [{"at": f"00:09.{n}", "id": "1022:1453", "class": "060400", "bus": f"{0x10 + n:02x}",
              "link": "3x1", "max": "3x16"} for n in range(8)]  # fmt: skip
    cards = [{"at": f"{port['bus']}:00.0", "under": port["at"], "link": "3x1"} for port in ports]
    profiles = {"eight": {"functions": ports, "gpus": cards}}
    return replace(Hardware.load(), profiles=profiles)


def ours(name: str, interpreter: Path, rig: Simulated) -> Exporter:
    """The agent on this hardware, a sample every second."""
    port = free_port()
    command: list[str | Path] = [
        interpreter, "-m", "agent", f"--web.listen-address=127.0.0.1:{port}",
        "--sample.interval=1s",
        f"--path.sysfs={rig.sysfs}", f"--path.procfs={rig.procfs}", "--path.kernel-log=/dev/null",
        f"--path.state={rig.folder}",
    ]  # fmt: skip
    environment = rig.environment | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}
    return Exporter(name, command, port, environment)


def main() -> int:
    """0 when the promises hold."""
    try:
        tools.fetch("prometheus-node-exporter")
        interpreter = python()
        with tempfile.TemporaryDirectory() as work:
            return compare(Path(work), interpreter)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def compare(work: Path, interpreter: Path) -> int:
    """Measure all, print the table, and judge it."""
    library = work / "library"
    library.mkdir()
    simulated.build(library)
    three = Simulated(work / "three", library)
    eight = Simulated(work / "eight", library, "eight", eight_gpus())
    node = tools.find("prometheus-node-exporter")
    assert node is not None
    nvitop_port, node_port = free_port(), free_port()
    exporters = [
        ours("deeprig-agent", interpreter, three),
        ours("deeprig-agent, 8 GPUs", interpreter, eight),
        Exporter(
            "nvitop-exporter",
            [interpreter.parent / "nvitop-exporter", "--bind-address=127.0.0.1",
             f"--port={nvitop_port}"],
            nvitop_port,
            three.environment,
        ),
        Exporter(
            "node_exporter", [node, f"--web.listen-address=127.0.0.1:{node_port}"], node_port,
            dict(os.environ),
        ),
    ]  # fmt: skip
    with running(exporters) as processes:
        with step(f"{ROUNDS} rounds of {2 * SCRAPES} scrapes of each", usual="half a minute"):
            for _ in range(ROUNDS):
                for one, process in zip(exporters, processes, strict=True):
                    measure(one, process.pid)
        with step("At rest", usual=f"{REST_SECONDS} s"):
            at_rest(exporters, processes)
    show(exporters)
    return judge(exporters)


def show(exporters: Sequence[Exporter]) -> None:
    """A row for each exporter."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("", "series", "kept p50", "p99", "anew p50", "p99", "CPU", "RSS", "at rest"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("", "", "ms", "ms", "ms", "ms", "ms", "MiB", "% core", style="dim")
    for one in exporters:
        figures = [
            percentile(one.kept, 0.5), percentile(one.kept, 0.99),
            percentile(one.anew, 0.5), percentile(one.anew, 0.99), statistics.median(one.cpu) * 1e3,
        ]  # fmt: skip
        table.add_row(
            one.name, str(one.series), *(f"{value:.2f}" for value in figures),
            f"{one.resident:.1f}", f"{one.rest * 100:.2f}",
        )  # fmt: skip
    console.print(table)


def judge(exporters: Sequence[Exporter]) -> int:
    """Each promise against what was measured."""
    agent, eight, *others = exporters
    promises = [
        ("series", agent.series, ">=", SERIES_LEAST),
        ("p99, kept, ms", percentile(agent.kept, 0.99), "<=", P99_MOST_MS),
        ("p99, anew, ms", percentile(agent.anew, 0.99), "<=", P99_MOST_MS),
        ("RSS, MiB", agent.resident, "<=", RESIDENT_MOST_MIB),
        ("at rest, % of a core", agent.rest * 100, "<=", REST_MOST * 100),
        ("p50 with 8 GPUs to that with 3",
         percentile(eight.kept, 0.5) / percentile(agent.kept, 0.5), "<=", EIGHT_MOST),
    ]  # fmt: skip
    for other in others:
        for name, own, its in (("kept", agent.kept, other.kept), ("anew", agent.anew, other.anew)):
            ratio = percentile(own, 0.5) / percentile(its, 0.5)
            promises.append((f"p50, {name}, to {other.name}", ratio, "<=", SHARE_MOST))
    broken = 0
    for name, value, sign, limit in promises:
        held = value >= limit if sign == ">=" else value <= limit
        broken += not held
        say(f"{'✓' if held else '✗'} {name:<34} {value:8.3f}  {sign} {limit:g}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
