"""Takes a sample every interval: asks every reader, judges, publishes.

The sampler runs in a separate thread. The web server only copies the sample that was published
last, so a slow or hanging reader makes the data older, never a scrape slower.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.registry import Collector

import agent
from agent import checks, tables
from agent.checks.context import Checks, Context
from agent.checks.sample import AgentReading, GpuState, Sample
from agent.configuration.settings import Settings
from agent.nvml.process import Answer, NvmlProcess, Poll
from agent.readings import links, pcie
from agent.readings.host import HostReader, HostReading
from agent.readings.links import LinkReader, PortReading, path_of
from agent.readings.nccl import ResultReader, Results
from agent.readings.pcie import EXHAUSTED, raise_exhausted
from agent.readings.validation import Validation, ValidationReader
from agent.readings.xid import Catalogue, Counter, KernelLog
from agent.sampling.growth import Key, Trends
from agent.sampling.history import History
from agent.sampling.metrics import MetricTable, SampleCollector

Slow = tuple[HostReading, Results, Validation | None]
SLOW_SECONDS = 5.0  # between readings of what changes slowly: disks, result files, ourselves
WORKING_STATE = 2  # P0 to P2: clocks and link are up
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

log = logging.getLogger("deeprig-agent")


@dataclass(frozen=True)
class Published:
    """A sample, and its metrics for prometheus_client's encoders."""

    sample: Sample
    metrics: Collector


class Sampler:
    """All readers of a rig and what has to be remembered between samples."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.history = History()
        self.catalogue = Catalogue(tables.load("xids"))
        self._checks = Checks(tables.load("checks"))
        self._table = MetricTable(tables.load("metrics"))
        self._nvml = NvmlProcess(procfs=settings.procfs, throughput=settings.pcie_throughput)
        self._links = LinkReader(settings.sysfs)
        self._host = HostReader(
            procfs=settings.procfs,
            sysfs=settings.sysfs,
            rootfs=settings.rootfs,
            folders=("/", settings.state_directory),
        )
        self._results = ResultReader(settings.results_folder)
        self._validation = ValidationReader(settings.validation_summary)
        self._log = KernelLog(settings.kernel_log)
        self._xids = Counter(self.catalogue.well_known())
        self._trends = Trends(settings.expectations.thresholds["window_seconds"])
        self._gpus: dict[str, GpuState] = {}  # the last known of each
        self._working_since: dict[str, float] = {}
        self._loaded: dict[str, tuple[float, float]] = {}  # speed under load, and when
        self._started_at = time.time()
        self._samples = 0
        self._slow_at = -SLOW_SECONDS
        self._slow: Slow = (HostReading(), Results(), None)
        self._costs: tuple[dict[str, float], dict[str, int]] = ({}, {})
        self._durations: dict[str, float] = {}
        self._clock: tuple[float, float] | None = None  # wall, since boot
        self._jump: tuple[float, float] | None = None  # seconds, when (since boot)

    def close(self) -> None:
        """End the process that asks NVML."""
        self._nvml.close()

    def run(self, stop: threading.Event, publish: Callable[[Published], None]) -> None:
        """Sample until stop is set. Intervals that were missed are not made up for."""
        due = time.monotonic()
        while not stop.is_set():
            try:
                publish(self.take())
            except OSError as error:  # the last sample stays, with its time: no reading is invented
                if error.errno not in EXHAUSTED:
                    log.exception("a sample failed")
                else:
                    log.error("a sample failed: %s", error.strerror)  # noqa: TRY400
            except Exception:  # no reading may end the others; without samples systemd restarts us
                log.exception("a sample failed")
            due = max(due + self.settings.interval, time.monotonic())
            stop.wait(due - time.monotonic())
        self.close()

    def take(self) -> Published:
        """One sample."""
        now, wall = time.monotonic(), time.time()
        self._note_clock(wall)
        self._samples += 1
        began = time.perf_counter()
        working = self._under_load(now)
        gpus, ports = self._links.read(working)
        began = self._note("pcie", began)
        poll = self._nvml.poll([gpu.address for gpu in gpus], self.settings.nvml_deadline)
        began = self._note("nvml", began)
        self._count_xids(poll, wall)
        by_address = {port.address: port for port in ports}
        states = tuple(self._state(gpu, poll, by_address, wall) for gpu in gpus)
        self._note_work(states, now)
        paths = tuple(self._path(gpu, by_address, working, wall) for gpu in gpus)
        host, results, validation = self._read_slow(now)
        began = self._note("host", began)
        sample = Sample(
            taken_at=wall,
            driver=poll.driver,
            gpus=states,
            ports=ports,
            paths=paths,
            xids=self._xids.read(gpu.address for gpu in gpus),
            host=host,
            nccl=results,
            validation=validation,
            agent=self._about_us(),
            expectations=self.settings.expectations,
        )
        increases = self._trends.add(now, counters(sample))
        context = Context(sample, increases, self._checks, self.catalogue, self._shown_jump())
        sample = replace(sample, verdicts=checks.judge(context))
        self.history.add(boot_clock(), plotted(sample))
        self._note("health", began)
        return Published(sample, SampleCollector(self._table, sample))

    def _note(self, part: str, began: float) -> float:
        now = time.perf_counter()
        self._durations[part] = now - began
        return now

    # GPUs.

    def _state(
        self, gpu: pcie.Gpu, poll: Poll, ports: dict[str, PortReading], wall: float
    ) -> GpuState:
        before = self._gpus.get(gpu.address, GpuState(gpu.address))
        answer = poll.gpus.get(gpu.address)
        if answer is None:  # nobody was asked: no driver
            answer = Answer(problem="driver")
        if answer.reading is not None:
            reading = answer.reading
            state = GpuState(
                address=gpu.address,
                index=reading.index,
                uuid=reading.uuid,
                name=reading.name,
                reading=reading,
                read_at=wall,
                read_duration_seconds=answer.seconds,
            )
        else:
            lost = not ports[gpu.address].answers
            problem = "lost" if lost and answer.problem != "hung" else answer.problem
            state = replace(before, reading=None, problem=problem, read_duration_seconds=None)
        self._gpus[gpu.address] = state
        return state

    def _under_load(self, now: float) -> set[str]:
        """GPUs that have been at work for some seconds, by the samples before."""
        least = self.settings.expectations.thresholds["load_seconds"]
        return {gpu for gpu, since in self._working_since.items() if now - since >= least}

    def _note_work(self, states: Sequence[GpuState], now: float) -> None:
        for state in states:
            level = state.reading.performance_state if state.reading else None
            if level is not None and level <= WORKING_STATE:
                self._working_since.setdefault(state.address, now)
            else:
                self._working_since.pop(state.address, None)

    def _path(
        self, gpu: pcie.Gpu, ports: dict[str, PortReading], working: set[str], wall: float
    ) -> links.Path:
        path = path_of(gpu, ports)
        # Both must hold: the load of the samples before goes on in this one.
        loaded = path.address in working and path.address in self._working_since
        if loaded and path.speed is not None:
            self._loaded[path.address] = (path.speed, wall)
        speed, at = self._loaded.get(path.address, (None, None))
        path = replace(path, under_load=loaded, loaded_speed=speed, loaded_at=at)
        return self.settings.expectations.of(path, ports[gpu.address].max_width)

    def _count_xids(self, poll: Poll, wall: float) -> None:
        for address, number in poll.xids:
            self._xids.add("nvml", address, number, wall)
        for address, number in self._log.read():
            self._xids.add("kernel", address, number, wall)

    # The host, and ourselves.

    def _read_slow(self, now: float) -> Slow:
        if now - self._slow_at >= SLOW_SECONDS:
            self._slow_at = now
            self._slow = (self._host.read(), self._results.read(), self._validation.read())
            pids = {"server": os.getpid(), "nvml": self._nvml.pid}
            costs = {name: cost(pid) for name, pid in pids.items() if pid is not None}
            known = {name: found for name, found in costs.items() if found is not None}
            self._costs = (
                {name: seconds for name, (seconds, _) in known.items()},
                {name: resident for name, (_, resident) in known.items()},
            )
        host, results, validation = self._slow
        if host.boot_clock_seconds is not None:  # of this sample, or the time of boot would waver
            age = now - self._slow_at
            host = replace(host, boot_clock_seconds=host.boot_clock_seconds + age)
        return host, results, validation

    def _about_us(self) -> AgentReading:
        return AgentReading(
            version=agent.VERSION,
            started_at=self._started_at,
            interval_seconds=self.settings.interval,
            samples=self._samples,
            reader_restarts=self._nvml.restarts,
            duration_seconds=dict(self._durations),
            cpu_seconds=self._costs[0],
            resident_bytes=self._costs[1],
        )

    def _note_clock(self, wall: float) -> None:
        """Both clocks go on together, or the wall clock was set."""
        since_boot = boot_clock()
        if self._clock is not None:
            jump = (wall - self._clock[0]) - (since_boot - self._clock[1])
            if abs(jump) >= self.settings.expectations.thresholds["clock_jump_seconds"]:
                self._jump = (jump, since_boot)
        self._clock = (wall, since_boot)

    def _shown_jump(self) -> float | None:
        shown = self.settings.expectations.thresholds["clock_jump_shown_seconds"]
        if self._jump is None or boot_clock() - self._jump[1] > shown:
            return None
        return self._jump[0]


def boot_clock() -> float:
    """Seconds since boot, time asleep included; it never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def counters(sample: Sample) -> dict[Key, float]:
    """What the checks want to know the growth of."""
    found: dict[Key, float] = {}
    changes = {port.address: port.changes for port in sample.ports}
    for port in sample.ports:
        for severity, count in (port.aer or {}).items():
            found["aer", port.address, severity] = count
    for path in sample.paths:
        # Both ends of a link see it change: the most of all devices, not their sum.
        found["link_changes", path.address] = max(changes[device] for device in path.devices)
    for gpu in sample.gpus:
        if gpu.reading and gpu.reading.pcie_replays is not None:
            found["replays", gpu.address] = gpu.reading.pcie_replays
    if sample.host.cpu_throttles is not None:
        found["cpu_throttles",] = sample.host.cpu_throttles
    return found


def plotted(sample: Sample) -> dict[tuple[str, str], float | None]:
    """What the status page's plots show, by series (agent/sampling/history.py) and GPU."""
    found: dict[tuple[str, str], float | None] = {}
    for gpu in sample.gpus:
        if gpu.reading is not None:
            for name in (
                "temperature_celsius", "power_watts", "memory_used_bytes", "utilization_ratio",
            ):  # fmt: skip
                found[name, gpu.address] = getattr(gpu.reading, name)
    for path in sample.paths:
        found["path_width", path.address] = path.width
        found["path_speed", path.address] = path.speed
    return found


def cost(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes of a process; None if it is gone (proc(5))."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise_exhausted(error)
        return None
    user, system, resident = int(fields[11]), int(fields[12]), int(fields[21])
    return (user + system) / TICKS, resident * PAGE
