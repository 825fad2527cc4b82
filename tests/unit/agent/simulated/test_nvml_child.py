"""The agent's side alone: processes that are silent, send invalid lines, or do not end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.nvml.process import NvmlLimits, NvmlProcess
from lab.simulate.simulated_rig import NVRM
from tests.unit.agent.web.server import PATIENCE_SECONDS, wait_for

GPU = "0000:04:00.0"
READY = '{"driver": {"state": "ok", "library": null}}'
ANSWER = '{"sample": %d, "address": "0000:04:00.0", "seconds": 0.1, "error": "x", "code": 15}'
QUICK = NvmlLimits(retry_seconds=0.05, hung_seconds=0.2, lost_seconds=60, start_seconds=0.2)
ANSWERING = f"""
import json, sys
print('{READY}', flush=True)
for line in sys.stdin:
    NOISE
    print('{ANSWER}' % json.loads(line)['sample'], flush=True)
"""


@pytest.fixture
def procfs(tmp_path: Path) -> str:
    file = tmp_path / "driver/nvidia/version"
    file.parent.mkdir(parents=True)
    file.write_text(NVRM)
    return str(tmp_path)


def make_process(procfs: str, program: str, **settings: Any) -> NvmlProcess:
    return NvmlProcess(procfs=procfs, command=(sys.executable, "-S", "-c", program), **settings)


@pytest.mark.parametrize(
    "noise",
    [
        "print('NVRM: a library prints something')",
        "print('{', flush=True)",
        "print('42')",
        "print('[]')",
        "print('null')",
        "print('{}')",
        "print('{\"driver\": 1}')",
        'print(\'{"driver": {"state": "ok", "mood": "good"}}\')',
        "print('{\"xids\": [1]}')",
        "print('{\"sample\": %d}' % json.loads(line)['sample'])",
        "print('x' * 100_000)",
        "sys.stdout.flush(); sys.stdout.buffer.write(bytes(range(256)) + b'\\n')",
        "print('{\"a\":' * 5000)",
    ],
)
def test_invalid_lines_are_logged_and_skipped(
    noise: str, procfs: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = make_process(procfs, ANSWERING.replace("NOISE", noise))
    for _ in range(2):
        poll = process.poll([GPU], PATIENCE_SECONDS)
        assert (poll.driver.state, poll.gpus[GPU].problem) == ("ok", "lost")
    process.close()
    assert process.restarts == 0
    assert caplog.records, "and it is logged"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert all(len(record.getMessage()) < 200 for record in caplog.records)


def test_endless_line_replaces_the_process(procfs: str) -> None:
    """The agent's memory stays small."""
    program = f"print('{READY}', flush=True)\nwhile True: print('x' * 65536, end='')"
    process = make_process(procfs, program)
    wait_for(lambda: process.poll([GPU], 1) and process.restarts, "given up")
    assert len(process._buffer) < 2 << 20
    process.close()


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "import sys; sys.stdin.read()"])
def test_silent_process_is_replaced(program: str, procfs: str) -> None:
    """NVML may hang while it initialises; each poll keeps its deadline."""
    process = make_process(procfs, program, limits=QUICK)
    began = time.monotonic()
    poll = process.poll([GPU], 0.1)
    assert (poll.driver.state, poll.gpus) == ("starting", {})
    assert time.monotonic() - began < 1
    before = process.pid
    wait_for(lambda: process.poll([GPU], 0.05) and process.restarts, "replaced")
    assert process.poll([GPU], 0.05).driver.state == "unresponsive"
    assert process.pid != before
    process.close()


def test_gpu_deadline_starts_after_the_nvml_initialisation(procfs: str) -> None:
    """A slow initialisation must not restart the process again and again."""
    program = "import time; time.sleep(0.6)\n" + ANSWERING.replace("NOISE", "")
    limits = NvmlLimits(start_seconds=30, hung_seconds=0.3, lost_seconds=0.3)
    process = make_process(procfs, program, limits=limits)
    poll = process.poll([GPU], 0.1)
    while poll.driver.state == "starting":
        poll = process.poll([GPU], 0.05)
    poll = process.poll([GPU], PATIENCE_SECONDS)
    assert (poll.driver.state, poll.gpus[GPU].problem, process.restarts) == ("ok", "lost", 0)
    process.close()


@pytest.mark.parametrize("program", ["", "raise SystemExit(1)", "import os; os.close(1); input()"])
def test_process_that_ends_at_once_is_restarted_after_a_delay(program: str, procfs: str) -> None:
    process = make_process(
        procfs, program, limits=NvmlLimits(retry_seconds=0.2, retry_seconds_most=0.4)
    )
    assert process.poll([GPU], PATIENCE_SECONDS).driver.state == "starting"
    assert process.pid is None
    process.poll([GPU], 0.01)
    assert process.pid is None, "too early"
    wait_for(lambda: process.poll([GPU], 0) and process.pid, "tried again")
    process.close()


def test_missing_program_is_reported(procfs: str) -> None:
    process = NvmlProcess(procfs=procfs, command=("/nowhere/python",))
    poll = process.poll([GPU], 1)
    assert poll.driver.state == "unresponsive"
    assert "No such file or directory" in poll.driver.detail


def test_number_of_unkillable_processes_is_limited(
    procfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stuck in the kernel survives SIGKILL; here the signal is not sent."""
    started: list[subprocess.Popen[bytes]] = []
    kill = subprocess.Popen.kill
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: started.append(process))
    limits = NvmlLimits(start_seconds=0.02, kill_seconds=0.02, unkillable_most=3, patience_most=1)
    process = make_process(procfs, "import signal; signal.pause()", limits=limits)
    try:
        wait_for(lambda: process.poll([GPU], 0.01) and len(started) == 3, "three are stuck")
        for _ in range(5):
            assert process.poll([GPU], 0.01).driver.state == "unresponsive"
            assert process.pid is None
        assert len(started) == 3
        kill(started[0])  # the kernel ends one
        wait_for(lambda: process.poll([GPU], 0.01) and process.pid, "there is room again")
    finally:
        monkeypatch.undo()
        process.close()
        for child in started:
            child.kill()
            child.wait()


def test_fifty_replaced_processes_leak_no_descriptors_and_children(procfs: str) -> None:
    # The kernel of a busy machine may take longer than half a second to end a process.
    limits = NvmlLimits(retry_seconds=0.001, kill_seconds=PATIENCE_SECONDS)
    earlier = read_children()
    process = make_process(procfs, f"print('{READY}', flush=True)", limits=limits)
    process.poll([GPU], PATIENCE_SECONDS)
    before = len(list(Path("/proc/self/fd").iterdir()))
    # On a busy machine one poll sees the process ready, and the next one sees that it has ended.
    for _ in range(500):
        if process.restarts >= 50:
            break
        process.poll([GPU], PATIENCE_SECONDS)
    assert process.restarts >= 50
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    process.close()
    assert read_children() <= earlier, "each was waited for"


def test_process_that_ends_late_is_released_when_the_agent_ends(
    procfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    kill = subprocess.Popen.kill
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: started.append(process))
    limits = NvmlLimits(kill_seconds=0.001)
    process = make_process(procfs, "import signal; signal.pause()", limits=limits)
    process.poll([GPU], 0.001)
    process.close()
    monkeypatch.undo()
    kill(started[0])
    os.waitid(os.P_PID, started[0].pid, os.WEXITED | os.WNOWAIT)
    process.close()
    assert str(started[0].pid) not in read_children()


def read_children() -> set[str]:
    """Return the processes that this one has started and not waited for."""
    files = Path("/proc/self/task").glob("*/children")
    return {pid for file in files for pid in file.read_text().split()}
