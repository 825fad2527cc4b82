"""Samples with each fault, with GPUs that start and stop working, and with clock jumps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import Metric

from agent.checks.sample import Sample
from agent.sampling import sampler as module
from agent.sampling.metrics import MetricTable
from agent.sampling.sampler import PublishedSample, Sampler
from agent.web.negotiation import choose_format
from lab.simulate import pcie
from lab.simulate.hardware import LabLink
from lab.simulate.simulated_rig import SimulatedRig
from tests.unit.agent.simulated import rigs
from tests.unit.agent.simulated.rigs import SECOND, THIRD
from tests.unit.agent.web.server import PATIENCE_SECONDS, wait_for

LOAD_SECONDS, JUMP_SHOWN_SECONDS = 3, 600  # agent/tables/thresholds.yml


@dataclass
class Clock:
    """The module `time` as the sampler sees it; the test sets each clock."""

    wall: float = 1_795_507_200.0
    boot: float = 5000.0
    mono: float = 4000.0
    CLOCK_BOOTTIME: int = time.CLOCK_BOOTTIME

    def go_on(self, seconds: float, *, asleep: bool = False, set_: float = 0) -> None:
        """Advance the clocks, optionally asleep (the monotonic clock stops) or with a new date."""
        self.wall += seconds + set_
        self.boot += seconds
        self.mono += 0 if asleep else seconds

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.mono

    def perf_counter(self) -> float:
        return time.perf_counter()

    def clock_gettime(self, which: int) -> float:
        assert which == self.CLOCK_BOOTTIME
        return self.boot


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def sampler(rig: SimulatedRig, clock: Clock) -> Iterator[Sampler]:
    made = rigs.sampler(rig)
    yield made
    made.close()


def statuses(sample: Sample) -> dict[tuple[str, str], str]:
    return {(verdict.check, verdict.subject): verdict.status for verdict in sample.verdicts}


def aer(rig: SimulatedRig, count: int) -> None:
    device = (rig.sysfs / "bus/pci/devices" / SECOND).resolve()
    pcie.write_aer(device, "correctable", {"BadTLP": count})


FAULTS: dict[str, tuple[Callable[[SimulatedRig], None], str, str]] = {
    "lost": (lambda rig: rig.set(1, lost=1), "gpu-answers", "critical"),
    "hot": (
        lambda rig: rig.set(1, celsius=93, reasons=0x60, load=True),
        "gpu-temperature",
        "critical",
    ),
    "throttled by heat": (
        lambda rig: rig.set(1, reasons=0x60, load=True),
        "gpu-throttle-heat",
        "critical",
    ),
    "out of memory": (lambda rig: rig.set(1, used_mib=24_200), "gpu-memory", "warning"),
    "replays": (lambda rig: rig.set(1, replays=5000), "pcie-errors", "warning"),
    "corrected errors": (lambda rig: aer(rig, 1000), "pcie-errors", "warning"),
    "many corrected errors": (lambda rig: aer(rig, 100_000), "pcie-errors", "critical"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_changes_only_the_verdict_of_its_gpu(
    fault: str, rig: SimulatedRig, sampler: Sampler, clock: Clock
) -> None:
    inject, check, status = FAULTS[fault]
    before = sampler.take().sample
    assert statuses(before)[check, SECOND] in ("ok", "unknown")
    inject(rig)
    clock.go_on(5)
    after = sampler.take().sample
    changed = {key: now for key, now in statuses(after).items() if now != statuses(before).get(key)}
    assert changed[check, SECOND] == status
    assert {subject for _, subject in changed} <= {SECOND, "rig"}, "the others are as before"


def test_expected_width_is_limited_to_the_lanes_of_the_card(rig: SimulatedRig) -> None:
    rigs.config(rig, "path_width: 8\n")
    (rig.sysfs / "bus/pci/devices" / THIRD / "max_link_width").write_text("4\n")
    sampler = rigs.sampler(rig)
    try:
        paths = sampler.take().sample.paths
    finally:
        sampler.close()
    assert [path.expected_width for path in paths] == [8, 8, 4]


def test_link_changes_are_counted(rig: SimulatedRig, sampler: Sampler, clock: Clock) -> None:
    """x1 is the narrowest width; the third GPU's slot has more lanes in another profile."""
    sampler.take()
    for number in range(1, 4):
        pcie.set_link(rig.sysfs, THIRD, LabLink(1, 2 if number % 2 else 1))
        clock.go_on(5)
        sample = sampler.take().sample
        (endpoint,) = [port for port in sample.ports if port.address == THIRD]
        assert endpoint.changes == number
    assert statuses(sample)["pcie-flapping", THIRD] != "ok"


def test_loaded_speed_is_recorded_after_some_seconds_of_load(
    rig: SimulatedRig, sampler: Sampler, clock: Clock
) -> None:
    """A link's speed counts only if the GPU works before and during the sample."""

    def third() -> tuple[bool, float | None, float | None]:
        (path,) = [path for path in sampler.take().sample.paths if path.address == THIRD]
        return path.under_load, path.loaded_speed, path.loaded_at

    assert third() == (False, None, None)
    rig.set(2, load=True)
    pcie.set_link(rig.sysfs, THIRD, LabLink(3, 1))
    clock.go_on(5)
    assert third() == (False, None, None), "it has just begun"
    clock.go_on(LOAD_SECONDS - 1)
    assert third() == (False, None, None), "not long enough"
    clock.go_on(1)
    assert third() == (True, 8e9, clock.wall)
    rig.set(2)
    pcie.set_link(rig.sysfs, THIRD, LabLink(1, 1))
    clock.go_on(5)
    seen = clock.wall - 5
    assert third() == (False, 8e9, seen), "it stopped before this sample: its speed is of idling"
    clock.go_on(5)
    assert third() == (False, 8e9, seen), "what it was under load is remembered"
    rig.set(2, load=True)
    clock.go_on(5)
    assert third()[0] is False, "and a new load must last as long"
    rig.set(2, lost=1)
    clock.go_on(5)
    assert third()[0] is False, "a GPU that does not answer is not known to work"


@pytest.mark.parametrize("seconds", [120.0, -3600.0])
def test_clock_jump_is_a_warning_for_a_while(
    seconds: float, sampler: Sampler, clock: Clock
) -> None:
    sampler.take()
    clock.go_on(5, set_=seconds)
    sample = sampler.take().sample
    assert statuses(sample)["clock", "rig"] == "warning"
    (reading,) = [verdict.reading for verdict in sample.verdicts if verdict.check == "clock"]
    assert ("ahead" if seconds > 0 else "back") in reading
    clock.go_on(JUMP_SHOWN_SECONDS - 10)
    assert statuses(sampler.take().sample)["clock", "rig"] == "warning"
    clock.go_on(20)
    assert statuses(sampler.take().sample)["clock", "rig"] == "ok"


def test_sleep_and_small_clock_steps_are_not_a_jump(sampler: Sampler, clock: Clock) -> None:
    """Sleep, a long pause, and the small steps of NTP."""
    for step in ({"asleep": True}, {"set_": 0.4}, {"set_": -0.4}):
        sampler.take()
        clock.go_on(3600, **step)
        assert statuses(sampler.take().sample)["clock", "rig"] == "ok", step


def test_boot_time_is_constant(rig: SimulatedRig, sampler: Sampler, clock: Clock) -> None:
    """Uptime is read every five seconds; samples are more frequent."""
    (rig.procfs / "uptime").write_text("5000.00 9000.00\n")
    times = set()
    for _ in range(int(module.SLOW_SECONDS)):
        times.add(sampler.take().sample.booted_at)
        clock.go_on(1)
    assert times == {clock.wall - clock.boot}


def test_lost_gpu_keeps_its_identity_and_read_time(
    rig: SimulatedRig, sampler: Sampler, clock: Clock
) -> None:
    before = sampler.take().sample.gpus[1]
    rig.set(1, lost=1)
    clock.go_on(5)
    now = sampler.take().sample.gpus[1]
    assert (now.reading, now.up, now.read_duration_seconds) == (None, False, None)
    assert (now.uuid, now.index, now.name) == (before.uuid, before.index, before.name)
    assert now.read_at == before.read_at == clock.wall - 5


def test_memory_and_cpu_time_of_both_processes_are_reported(sampler: Sampler, clock: Clock) -> None:
    sampler.take()
    clock.go_on(5)
    agent = sampler.take().sample.agent
    assert set(agent.resident_bytes) == set(agent.cpu_seconds) == {"server", "nvml"}
    assert all(size > 1 << 20 for size in agent.resident_bytes.values())
    assert (agent.samples, agent.reader_restarts) == (2, 0)
    assert set(agent.duration_seconds) >= {"pcie", "nvml", "host", "health"}


def test_sample_is_rendered_only_on_request(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Sample] = []
    build = MetricTable.build_families

    def count_and_collect(self: MetricTable, sample: Sample) -> Iterator[Metric]:
        rendered.append(sample)
        return build(self, sample)

    monkeypatch.setattr(MetricTable, "build_families", count_and_collect)
    published = sampler.take()
    assert rendered == []
    assert b"deeprig_" in choose_format("")[0](published.metrics)
    assert rendered == [published.sample]


def test_failing_reader_does_not_end_sampling(
    rig: SimulatedRig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = rigs.sampler(rig, "--sample.interval=100ms")
    published: list[PublishedSample] = []
    read, failures = sampler._links.read, 3

    def raise_value_error(*words: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ValueError("something new from the kernel")
        return read(*words)

    monkeypatch.setattr(sampler._links, "read", raise_value_error)
    stop = threading.Event()
    thread = threading.Thread(target=sampler.run, args=(stop, published.append))
    thread.start()
    wait_for(lambda: len(published) >= 2, "samples again")
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert sampler._nvml.pid is None, "it ends what it has started"
    assert caplog.text.count("ValueError: something new from the kernel") == 3
    times = [publication.sample.taken_at for publication in published]
    assert all(after - before > 0.09 for before, after in pairwise(times))


def test_missed_samples_are_not_repeated(rig: SimulatedRig) -> None:
    """After a sample that took four intervals, one sample follows at once, not four."""
    sampler = rigs.sampler(rig, "--sample.interval=100ms")
    taken: list[float] = []

    def take() -> Any:
        taken.append(time.monotonic())
        if len(taken) == 1:
            time.sleep(0.45)

    sampler.take = take  # type: ignore[method-assign]
    stop = threading.Event()
    thread = threading.Thread(target=sampler.run, args=(stop, lambda _: None))
    thread.start()
    wait_for(lambda: len(taken) >= 4, "four samples")
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert taken[1] - taken[0] < 0.45 + 0.09
    # A sample that is made up for would follow at once; a busy machine delays one by some ms.
    assert taken[2] - taken[1] > 0.05
    assert taken[3] - taken[2] > 0.05
