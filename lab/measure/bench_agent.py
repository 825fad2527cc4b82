"""`make bench`, second part: the agent beside two exporters that people run today, in one run.

The agent, nvitop-exporter and Debian's prometheus-node-exporter run at the same time on three
simulated RTX 3090s (lab/simulate/simulated_rig.py) and are scraped in turn. Figures are medians of
five rounds; most promises are ratios, because the machine's speed varies.
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

from lab.build import image, tools
from lab.build.host import find_free_port
from lab.errors import LabError
from lab.report import console, say, step
from lab.simulate import simulated_rig
from lab.simulate.hardware import BiosProfile, Hardware
from lab.simulate.simulated_rig import SimulatedRig

ROOT = Path(__file__).parents[2]
SCRAPES, ROUNDS, REST_SECONDS = 300, 5, 20
START_SECONDS = 20
NVITOP = "nvitop-exporter==1.7.2"
#: The request of Prometheus 2.42.
REQUEST = (
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Prometheus/2.42.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
    b"version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n"
    b"Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n"
)
#: What the agent promises: series of three GPUs; the median of a scrape as a share of
#: node_exporter's; memory of both processes; cores at rest, with a sample a second and at the
#: default interval.
SERIES_LEAST, SHARE_MOST, RESIDENT_MOST_MIB = 300, 0.1, 55
REST_MOST, REST_DEFAULT_MOST = 0.01, 0.0025


@dataclass
class Exporter:
    """An exporter that is measured. The lists have one entry a round.

    persistent, reconnected: seconds of each scrape over one connection, and of each on a new one.
    cpu: seconds of CPU time for a scrape. resident: MiB of all processes. rest: cores at rest.
    """

    name: str
    command: Sequence[str | Path]
    port: int
    environment: dict[str, str]
    persistent: list[list[float]] = field(default_factory=list)
    reconnected: list[list[float]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    series: int = 0
    resident: float = 0
    rest: float = 0


def install_python() -> Path:
    """Return Debian's Python, as on a rig, with the packages of both Python exporters."""
    folder = image.cache().parent / "bench-python"
    requirements = ROOT / "agent/requirements.txt"
    packages = repr([requirements.read_text(), NVITOP])
    stamp = folder / "packages"
    if stamp.exists() and stamp.read_text() == packages:
        return folder / "bin/python"
    system = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    pip = [str(folder / "bin/pip"), "install", "-q"]
    with step("Python packages for the benchmark"):
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            [system, "-m", "venv", str(folder)],
            [*pip, "--require-hashes", "-r", str(requirements)],
            [*pip, NVITOP],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise LabError(f"`{' '.join(command)}` failed: {done.stderr}")
        stamp.write_text(packages)
    return folder / "bin/python"


@contextlib.contextmanager
def running(candidates: Sequence[Exporter]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start all candidates and wait until each answers; end them after the block."""
    processes = [
        subprocess.Popen(
            list(map(str, candidate.command)),
            env=candidate.environment,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for candidate in candidates
    ]
    try:
        for candidate in candidates:
            deadline = time.monotonic() + START_SECONDS
            while not answers(candidate.port):
                if time.monotonic() > deadline:
                    raise LabError(f"{candidate.name} does not answer on port {candidate.port}.")
                time.sleep(0.05)
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=10)


def answers(port: int) -> bool:
    """Return whether a scrape succeeds."""
    try:
        return b"# TYPE" in gzip.decompress(scrape(connect(port), keep=False))
    except (OSError, ValueError):
        return False


def connect(port: int) -> socket.socket:
    """Open a connection as Prometheus does."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def scrape(connection: socket.socket, *, keep: bool) -> bytes:
    """Return the body of one scrape. The client costs next to nothing, the same for all."""
    close = b"" if keep else b"Connection: close\r\n"
    connection.sendall(REQUEST + close + b"\r\n")
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
        body = join_chunks(body)
    else:  # HTTP/1.0: until it closes
        while part := connection.recv(1 << 18):
            body += part
    if not keep:
        connection.close()
    return body


def join_chunks(data: bytes) -> bytes:
    """Return the content of a chunked body."""
    content = b""
    while data:
        length, _, data = data.partition(b"\r\n")
        size = int(length, 16)
        content, data = content + data[:size], data[size + 2 :]
    return content


def receive(connection: socket.socket) -> bytes:
    """Return some bytes. Raises ValueError at the end."""
    part = connection.recv(1 << 18)
    if not part:
        raise ValueError("the connection was closed")
    return part


def list_family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    members = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            for child in (thread / "children").read_text().split():
                members += list_family(int(child))
    return members


def read_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and its descendants, including threads that ended."""
    # The kernel's clock of another process: clock_getcpuclockid(3), as glibc computes it.
    return sum(time.clock_gettime((~member << 3) | 2) for member in list_family(pid))


def read_resident_mib(pid: int) -> float:
    """Return the resident memory of a process and its descendants; shared pages count in each."""
    total = 0
    for member in list_family(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total / 1024


def measure(candidate: Exporter, pid: int) -> None:
    """Scrape for one round: over one connection if the exporter keeps it, then on new ones."""
    before = read_cpu_seconds(pid)
    times, connection = [], connect(candidate.port)
    for _ in range(SCRAPES):
        began = time.perf_counter()
        try:
            body = scrape(connection, keep=True)
        except (OSError, ValueError):  # it closes the connection all the same
            connection = connect(candidate.port)
            body = scrape(connection, keep=True)
        times.append(time.perf_counter() - began)
    connection.close()
    candidate.persistent.append(times)
    times = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        scrape(connect(candidate.port), keep=False)
        times.append(time.perf_counter() - began)
    candidate.reconnected.append(times)
    candidate.cpu.append((read_cpu_seconds(pid) - before) / (2 * SCRAPES))
    lines = gzip.decompress(body).splitlines()
    candidate.series = sum(not line.startswith(b"#") for line in lines)


def measure_rest(
    candidates: Sequence[Exporter], processes: Sequence[subprocess.Popen[bytes]]
) -> None:
    """Measure CPU time and memory without scrapes."""
    before = [read_cpu_seconds(process.pid) for process in processes]
    time.sleep(REST_SECONDS)  # the measurement itself, not a wait for something
    for candidate, process, spent in zip(candidates, processes, before, strict=True):
        candidate.rest = (read_cpu_seconds(process.pid) - spent) / REST_SECONDS
        candidate.resident = read_resident_mib(process.pid)


def percentile(rounds: list[list[float]], share: float) -> float:
    """Return the median over the rounds of each round's percentile, in ms."""
    values = [sorted(times)[min(int(len(times) * share), len(times) - 1)] for times in rounds]
    return statistics.median(values) * 1e3


def eight_gpus() -> Hardware:
    """Return the seed rig's cards, eight of them, each on its own root port."""
    ports = [
        {
            "at": f"00:09.{number}",
            "id": "1022:1453",
            "class": "060400",
            "bus": f"{0x10 + number:02x}",
            "link": "3x1",
            "max": "3x16",
        }
        for number in range(8)
    ]
    cards = [{"at": f"{port['bus']}:00.0", "under": port["at"], "link": "3x1"} for port in ports]
    profile = BiosProfile(functions=[dict(port) for port in ports], gpus=cards)
    return replace(Hardware.load(), profiles={"eight": profile})


def agent(name: str, interpreter: Path, rig: SimulatedRig, *flags: str) -> Exporter:
    """Return the agent on this hardware."""
    port = find_free_port()
    command: list[str | Path] = [
        interpreter,
        "-m",
        "agent",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--path.sysfs={rig.sysfs}",
        f"--path.procfs={rig.procfs}",
        "--path.kernel-log=/dev/null",
        f"--path.state={rig.folder}",
        *flags,
    ]
    environment = rig.environment | {"PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"}
    return Exporter(name, command, port, environment)


def main() -> int:
    """Return 0 if every promise holds."""
    try:
        tools.fetch("prometheus-node-exporter")
        interpreter = install_python()
        with tempfile.TemporaryDirectory() as work:
            return compare(Path(work), interpreter)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def compare(work: Path, interpreter: Path) -> int:
    """Measure all candidates, print the table, and check the promises."""
    library = work / "library"
    library.mkdir()
    simulated_rig.build(library)
    three = SimulatedRig(work / "three", library)
    eight = SimulatedRig(work / "eight", library, "eight", eight_gpus())
    node = tools.find("prometheus-node-exporter")
    assert node is not None
    nvitop_port, node_port = find_free_port(), find_free_port()
    nvitop: list[str | Path] = [
        interpreter.parent / "nvitop-exporter",
        "--bind-address=127.0.0.1",
        f"--port={nvitop_port}",
    ]
    every_second = agent("agent, 1 s", interpreter, three, "--sample.interval=1s")
    by_default = agent("agent, 5 s", interpreter, three)
    node_exporter = Exporter(
        "node_exporter",
        [node, f"--web.listen-address=127.0.0.1:{node_port}"],
        node_port,
        dict(os.environ),
    )
    candidates = [
        every_second,
        by_default,
        agent("agent, 1 s, 8 GPUs", interpreter, eight, "--sample.interval=1s"),
        Exporter("nvitop-exporter", nvitop, nvitop_port, three.environment),
        node_exporter,
    ]
    with running(candidates) as processes:
        with step(f"{ROUNDS} rounds of {2 * SCRAPES} scrapes of each", usual="half a minute"):
            for _ in range(ROUNDS):
                for candidate, process in zip(candidates, processes, strict=True):
                    measure(candidate, process.pid)
        with step("At rest", usual=f"{REST_SECONDS} s"):
            measure_rest(candidates, processes)
    show(candidates)
    return check_promises(every_second, by_default, node_exporter)


def show(candidates: Sequence[Exporter]) -> None:
    """Print a row for each candidate."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("", "series", "kept p50", "p99", "new p50", "p99", "CPU", "RSS", "at rest"):
        table.add_column(title, justify="left" if not title else "right")
    table.add_row("", "", "ms", "ms", "ms", "ms", "ms", "MiB", "% core", style="dim")
    for candidate in candidates:
        figures = [
            percentile(candidate.persistent, 0.5),
            percentile(candidate.persistent, 0.99),
            percentile(candidate.reconnected, 0.5),
            percentile(candidate.reconnected, 0.99),
            statistics.median(candidate.cpu) * 1e3,
        ]
        table.add_row(
            candidate.name,
            str(candidate.series),
            *(f"{value:.2f}" for value in figures),
            f"{candidate.resident:.1f}",
            f"{candidate.rest * 100:.2f}",
        )
    console.print(table)


def check_promises(every_second: Exporter, by_default: Exporter, node: Exporter) -> int:
    """Compare each promise with what was measured; return 0 if all hold."""
    persistent = percentile(every_second.persistent, 0.5) / percentile(node.persistent, 0.5)
    reconnected = percentile(every_second.reconnected, 0.5) / percentile(node.reconnected, 0.5)
    promises = [
        ("series", every_second.series, ">=", SERIES_LEAST),
        ("p50, kept, to node_exporter's", persistent, "<=", SHARE_MOST),
        ("p50, new, to node_exporter's", reconnected, "<=", SHARE_MOST),
        ("RSS, MiB", every_second.resident, "<=", RESIDENT_MOST_MIB),
        ("at rest, 1 s, % of a core", every_second.rest * 100, "<=", REST_MOST * 100),
        ("at rest, 5 s, % of a core", by_default.rest * 100, "<=", REST_DEFAULT_MOST * 100),
    ]
    broken = 0
    for name, value, sign, limit in promises:
        is_kept = value >= limit if sign == ">=" else value <= limit
        broken += not is_kept
        say(f"{'✓' if is_kept else '✗'} {name:<34} {value:8.3f}  {sign} {limit:g}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
