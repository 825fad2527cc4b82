"""The predictor against a few measurements; the test removes its networks."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.verify_advise import cases as verify_advise
from lab.verify_advise import measure, netns
from lab.verify_advise.cases import Comparison

ROOT = Path(__file__).parents[2]
HOLD = """
import signal
from lab.verify_advise import netns
with netns.network(2) as network:
    network.limit(500)
    sleeper = network.start(0, ["sleep", "600"], {}, __import__("pathlib").Path("/dev/null"))
    # Blocked until sigwait: a signal just before a blocking call would not end the call.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    print(network.base, sleeper.pid, flush=True)
    signal.sigwait({signal.SIGINT})
    raise KeyboardInterrupt
"""


@pytest.fixture(scope="module", autouse=True)
def _usable() -> None:
    if problem := netns.find_obstacle():
        pytest.fail(f"Network namespaces must work: {problem}", pytrace=False)


@pytest.fixture(scope="module")
def cases() -> list[Comparison]:
    """Few cases at one rate, calibrated at another."""
    settings: dict[str, Any] = verify_advise.load()
    short = settings["short"]
    settings |= {**short, "calibration": {**settings["calibration"], **short["calibration"]}}
    workloads = [
        workload for workload in settings["workloads"] if workload["part"] in short["parts"]
    ]
    calibration = measure.calibrate(settings, workloads)
    return measure.measure(settings, workloads, calibration)


@pytest.mark.extended
def test_bytes_on_the_wire_match_the_formulas(cases: list[Comparison]) -> None:
    wrong = [verify_advise.row(case) for case in cases if abs(case.bytes_error) > 0.04]
    assert wrong == []


@pytest.mark.extended
def test_step_times_match_the_predictions(cases: list[Comparison]) -> None:
    within = verify_advise.load()["short"]["within"]
    wrong = [verify_advise.row(case) for case in cases if abs(case.error) > within]
    assert wrong == []


@pytest.mark.extended
def test_messages_take_a_large_share_of_the_step(cases: list[Comparison]) -> None:
    """A step without messages would be much shorter, so ignoring messages would not pass."""
    assert all(case.slowdown > 1.5 for case in cases)


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A program that holds a network with a process in it; returns it, the name, the process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        name, _, pid = program.stdout.readline().strip().partition(" ")
        yield program, name, int(pid)
        program.kill()


def list_namespaces(name: str) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.split() if line.startswith(name)]


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie whose parent is gone does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_ctrl_c_leaves_no_namespaces(holder: tuple[subprocess.Popen[str], str, int]) -> None:
    program, name, sleeper = holder
    assert len(list_namespaces(name)) == 3
    program.send_signal(signal.SIGINT)
    program.wait(30)
    assert list_namespaces(name) == []
    assert not is_running(sleeper)


def test_next_run_removes_namespaces_of_a_killed_run(
    holder: tuple[subprocess.Popen[str], str, int],
) -> None:
    program, name, sleeper = holder
    program.kill()
    program.wait(30)
    assert len(list_namespaces(name)) == 3
    with netns.network(1):
        assert list_namespaces(name) == []
    assert not is_running(sleeper)


def test_network_of_another_run_is_not_removed(
    holder: tuple[subprocess.Popen[str], str, int],
) -> None:
    _, name, sleeper = holder
    netns.clear()
    assert len(list_namespaces(name)) == 3
    assert is_running(sleeper)


def test_failing_rank_is_reported_with_its_last_lines() -> None:
    from lab.errors import LabError
    from lab.verify_advise.runs import run

    with pytest.raises(LabError, match=r"Rank \d ended with status"):
        run(2, 1000, [{"part": "nonsense"}])
