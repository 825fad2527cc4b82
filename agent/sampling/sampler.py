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
from agent import tables
from agent.checks.context import CheckContext, CheckTable
from agent.checks.sample import AgentReading, GpuState, Sample
from agent.checks.verdicts import judge_sample
from agent.configuration.settings import Settings
from agent.nvml.process import GpuAnswer, NvmlPoll, NvmlProcess
from agent.readings import system, validation
from agent.readings.host import HostReader, HostReading
from agent.readings.json_file import JsonFileReader
from agent.readings.links import LinkReader, PciePath, PortReading, build_path
from agent.readings.nccl import CollectiveResults, ResultReader
from agent.readings.pcie import EXHAUSTED, PcieGpu, raise_exhausted
from agent.readings.system import SystemState
from agent.readings.validation import Validation
from agent.readings.xid import KernelLog, XidCatalogue, XidCounter
from agent.sampling.growth import CounterGrowth, Key
from agent.sampling.history import History
from agent.sampling.metrics import MetricTable, SampleCollector

SlowReadings = tuple[HostReading, CollectiveResults, Validation | None, SystemState | None]
SLOW_SECONDS = 5.0  # between readings of what changes slowly: disks, result files, the agent
WORKING_STATE = 2  # performance states P0 to P2: clocks and link are up
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PLOTTED = ("temperature_celsius", "power_watts", "memory_used_bytes", "utilization_ratio")

log = logging.getLogger("deeprig-agent")


@dataclass(frozen=True)
class PublishedSample:
    """A sample, and its metrics for prometheus_client's encoders."""

    sample: Sample
    metrics: Collector


class Sampler:
    """All readers of a rig, and what is remembered between samples."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.history = History()
        self.catalogue = XidCatalogue(tables.load("xids"))
        self._checks = CheckTable(tables.load("checks"))
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
        self._validation = JsonFileReader(settings.validation_summary, validation.parse)
        self._system = JsonFileReader(settings.system_state, system.parse)
        self._log = KernelLog(settings.kernel_log)
        self._xids = XidCounter(self.catalogue.list_well_known())
        self._growth = CounterGrowth(settings.expectations.thresholds["window_seconds"])
        self._gpus: dict[str, GpuState] = {}  # the last known state of each
        self._working_since: dict[str, float] = {}
        self._loaded: dict[str, tuple[float, float]] = {}  # speed under load, and when
        self._started_at = time.time()
        self._samples = 0
        self._slow_at = -SLOW_SECONDS
        self._slow: SlowReadings = (HostReading(), CollectiveResults(), None, None)
        self._costs: tuple[dict[str, float], dict[str, int]] = ({}, {})
        self._durations: dict[str, float] = {}
        self._clock: tuple[float, float] | None = None  # wall clock, seconds since boot
        self._jump: tuple[float, float] | None = None  # seconds, when (since boot)

    def close(self) -> None:
        """End the process that asks NVML."""
        self._nvml.close()

    def run(self, stop: threading.Event, publish: Callable[[PublishedSample], None]) -> None:
        """Take samples until stop is set. Missed intervals are skipped."""
        due = time.monotonic()
        while not stop.is_set():
            try:
                publish(self.take())
            except OSError as error:  # the last sample stays in use, with its time
                if error.errno not in EXHAUSTED:
                    log.exception("a sample failed")
                else:
                    log.error("a sample failed: %s", error.strerror)  # noqa: TRY400
            except Exception:  # later samples may succeed; without any, systemd restarts the agent
                log.exception("a sample failed")
            due = max(due + self.settings.interval, time.monotonic())
            stop.wait(due - time.monotonic())
        self.close()

    def take(self) -> PublishedSample:
        """Take one sample."""
        now, wall = time.monotonic(), time.time()
        self._note_clock(wall)
        self._samples += 1
        began = time.perf_counter()
        working = self._list_working(now)
        gpus, ports = self._links.read(working)
        began = self._note_duration("pcie", began)
        poll = self._nvml.poll([gpu.address for gpu in gpus], self.settings.nvml_deadline)
        began = self._note_duration("nvml", began)
        self._count_xids(poll, wall)
        by_address = {port.address: port for port in ports}
        states = tuple(self._update_state(gpu, poll, by_address, wall) for gpu in gpus)
        self._note_work(states, now)
        paths = tuple(self._read_path(gpu, by_address, working, wall) for gpu in gpus)
        host, results, summary, state = self._read_slow(now)
        began = self._note_duration("host", began)
        sample = Sample(
            taken_at=wall,
            driver=poll.driver,
            gpus=states,
            ports=ports,
            paths=paths,
            xids=self._xids.read(gpu.address for gpu in gpus),
            host=host,
            nccl=results,
            validation=summary,
            system=state,
            agent=self._describe_agent(),
            expectations=self.settings.expectations,
        )
        increases = self._growth.add(now, collect_counters(sample))
        jump = self._find_shown_jump()
        context = CheckContext(sample, increases, self._checks, self.catalogue, jump)
        sample = replace(sample, verdicts=judge_sample(context))
        self.history.add(read_boot_clock(), collect_plotted(sample))
        self._note_duration("health", began)
        return PublishedSample(sample, SampleCollector(self._table, sample))

    def _note_duration(self, part: str, began: float) -> float:
        now = time.perf_counter()
        self._durations[part] = now - began
        return now

    # GPUs.

    def _update_state(
        self, gpu: PcieGpu, poll: NvmlPoll, ports: dict[str, PortReading], wall: float
    ) -> GpuState:
        before = self._gpus.get(gpu.address, GpuState(gpu.address))
        # Without a driver, no GPU answers.
        answer = poll.gpus.get(gpu.address) or GpuAnswer(problem="driver")
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
            is_lost = not ports[gpu.address].answers
            problem = "lost" if is_lost and answer.problem != "hung" else answer.problem
            state = replace(before, reading=None, problem=problem, read_duration_seconds=None)
        self._gpus[gpu.address] = state
        return state

    def _list_working(self, now: float) -> set[str]:
        """Return the GPUs that have worked for some seconds, by the samples before."""
        least = self.settings.expectations.thresholds["load_seconds"]
        return {gpu for gpu, since in self._working_since.items() if now - since >= least}

    def _note_work(self, states: Sequence[GpuState], now: float) -> None:
        for state in states:
            level = state.reading.performance_state if state.reading else None
            if level is not None and level <= WORKING_STATE:
                self._working_since.setdefault(state.address, now)
            else:
                self._working_since.pop(state.address, None)

    def _read_path(
        self, gpu: PcieGpu, ports: dict[str, PortReading], working: set[str], wall: float
    ) -> PciePath:
        path = build_path(gpu, ports)
        # The GPU must still work in this sample.
        is_loaded = path.address in working and path.address in self._working_since
        if is_loaded and path.speed is not None:
            self._loaded[path.address] = (path.speed, wall)
        speed, at = self._loaded.get(path.address, (None, None))
        path = replace(path, under_load=is_loaded, loaded_speed=speed, loaded_at=at)
        return self.settings.expectations.add_to(path, ports[gpu.address].max_width)

    def _count_xids(self, poll: NvmlPoll, wall: float) -> None:
        for address, number in poll.xids:
            self._xids.add("nvml", address, number, wall)
        for address, number in self._log.read():
            self._xids.add("kernel", address, number, wall)

    # The host, and the agent.

    def _read_slow(self, now: float) -> SlowReadings:
        if now - self._slow_at >= SLOW_SECONDS:
            self._slow_at = now
            self._slow = (
                self._host.read(),
                self._results.read(),
                self._validation.read(),
                self._system.read(),
            )
            self._read_costs()
        host, results, summary, state = self._slow
        if host.boot_clock_seconds is not None:  # of this sample, or the time of boot would vary
            age = now - self._slow_at
            host = replace(host, boot_clock_seconds=host.boot_clock_seconds + age)
        return host, results, summary, state

    def _read_costs(self) -> None:
        pids = {"server": os.getpid(), "nvml": self._nvml.pid}
        costs = {name: read_process_cost(pid) for name, pid in pids.items() if pid is not None}
        self._costs = (
            {name: cost[0] for name, cost in costs.items() if cost is not None},
            {name: cost[1] for name, cost in costs.items() if cost is not None},
        )

    def _describe_agent(self) -> AgentReading:
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
        """Detect that the wall clock was set: it then differs from the time since boot."""
        since_boot = read_boot_clock()
        if self._clock is not None:
            jump = (wall - self._clock[0]) - (since_boot - self._clock[1])
            if abs(jump) >= self.settings.expectations.thresholds["clock_jump_seconds"]:
                self._jump = (jump, since_boot)
        self._clock = (wall, since_boot)

    def _find_shown_jump(self) -> float | None:
        shown = self.settings.expectations.thresholds["clock_jump_shown_seconds"]
        if self._jump is None or read_boot_clock() - self._jump[1] > shown:
            return None
        return self._jump[0]


def read_boot_clock() -> float:
    """Return the seconds since boot, including time asleep; this clock never jumps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def collect_counters(sample: Sample) -> dict[Key, float]:
    """Return the counters whose growth the checks use."""
    counters: dict[Key, float] = {}
    changes = {port.address: port.changes for port in sample.ports}
    for port in sample.ports:
        for severity, count in (port.aer or {}).items():
            counters["aer", port.address, severity] = count
    for path in sample.paths:
        # Both ends of a link count a change: the highest count of the devices, not the sum.
        counters["link_changes", path.address] = max(changes[device] for device in path.devices)
    for gpu in sample.gpus:
        if gpu.reading and gpu.reading.pcie_replays is not None:
            counters["replays", gpu.address] = gpu.reading.pcie_replays
    if sample.host.cpu_throttles is not None:
        counters["cpu_throttles",] = sample.host.cpu_throttles
    return counters


def collect_plotted(sample: Sample) -> dict[tuple[str, str], float | None]:
    """Return the values of the status page's plots, by series (history.py) and GPU."""
    values: dict[tuple[str, str], float | None] = {}
    for gpu in sample.gpus:
        if gpu.reading is not None:
            for name in PLOTTED:
                values[name, gpu.address] = getattr(gpu.reading, name)
    for path in sample.paths:
        values["path_width", path.address] = path.width
        values["path_speed", path.address] = path.speed
    return values


def read_process_cost(pid: int) -> tuple[float, int] | None:
    """Return the CPU seconds and resident bytes of a process; None if it is gone (proc(5))."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError as error:
        raise_exhausted(error)
        return None
    user, system, resident = int(fields[11]), int(fields[12]), int(fields[21])
    return (user + system) / TICKS, resident * PAGE_BYTES
