"""A driver that hangs in the kernel: a process that can't be killed does not delay the run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.bench import interruptions, job, processes, resources
from agent.bench.errors import UnusableError
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.job import Ending, Job, JobListener

ROOT = Path(__file__).parents[3]

LONG_SECONDS = 20.0  # that what is stuck goes on, if anybody waits for it
kill = subprocess.Popen.kill


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a process that no signal ends, as in an uninterruptible call of the driver."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*words: object, **more: object) -> subprocess.Popen[bytes]:
        started.append(start(*words, **more))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: None)
    monkeypatch.setattr(subprocess, "Popen", noted)
    yield noted
    for process in started:
        kill(process)
        process.wait()


def test_hung_probe_is_an_error_in_time(
    stuck: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec sleep {LONG_SECONDS:.0f}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(resources, "PROBE_SECONDS", 0.1)
    began = time.monotonic()
    with pytest.raises(UnusableError, match="did not answer"):
        resources.probe_torch()
    assert time.monotonic() - began < LONG_SECONDS / 2


def test_hung_gpu_monitor_does_not_delay_the_run(
    stuck: Callable[..., subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(
        interruptions,
        "_start_gpu_monitor",
        lambda: stuck(["sleep", str(LONG_SECONDS)], stdout=subprocess.PIPE),
    )
    monkeypatch.setattr(interruptions, "KILL_SECONDS", 0.1)
    looking = InterruptionMonitor(1.0, watch_input=False, watch_gpus=True)
    began = time.monotonic()
    looking.close()
    assert time.monotonic() - began < LONG_SECONDS / 2


def test_unkillable_rank_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    following = SimpleNamespace(wait=lambda: Ending("hang", message="no rank made progress"))
    monkeypatch.setattr(job, "_start", lambda *words: None)
    monkeypatch.setattr(job, "_Following", lambda *words: following)
    monkeypatch.setattr(processes, "end_descendants", lambda spared: [7])
    looking: Any = SimpleNamespace(spared_processes=set())
    ending = job.run_torchrun(Job("nccl", 2, [], "name"), looking, JobListener(), 1.0)
    assert ending.message.startswith("no rank made progress; 7 can't be killed")


def test_next_benchmark_waits_longer_than_the_kill_timeout() -> None:
    program = (ROOT / "playbooks/templates/deeprig-bench.j2").read_text()
    (waits,) = re.findall(r"flock --wait (\d+)", program)
    assert 20 <= processes.KILL_SECONDS < float(waits) - processes.TERM_SECONDS
