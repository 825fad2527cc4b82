"""Runs that are ended from outside, with real torchruns over gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.bench import processes
from tests.torch.launch import PATIENCE_SECONDS, ROOT, BenchProcess, is_running, launch
from tests.unit.agent.web.server import wait_for

ENDLESS = ("--ranks", "2", "--repeats", "1000000", "--max-bytes", "64K")


pytestmark = pytest.mark.usefixtures("in_trouble")  # it goes on beside these


def test_killed_torchrun_is_a_problem(tmp_path: Path) -> None:
    with launch(tmp_path, "collectives", *ENDLESS) as bench:
        bench.wait_for_ranks(2)
        os.kill(bench.find_torchrun(), signal.SIGKILL)
        document = bench.wait_for_document()
        (problem,) = document["problems"]
        assert problem["part"] == "collectives"
        assert problem["message"] == "torchrun was killed by SIGKILL"
        assert bench.process.returncode == 3
        assert bench.list_survivors() == []


def interrupt(bench: BenchProcess) -> None:
    bench.process.send_signal(signal.SIGINT)


def terminate(bench: BenchProcess) -> None:
    bench.process.terminate()


def hang_up(bench: BenchProcess) -> None:
    assert bench.process.stdin is not None
    bench.process.stdin.close()


@pytest.mark.parametrize(
    ("end", "at_work", "status"),
    [(interrupt, True, 130), (terminate, False, 143), (hang_up, False, 143)],
)
def test_signals_end_the_run_and_leave_no_process(
    tmp_path: Path, end: Callable[[BenchProcess], None], at_work: bool, status: int
) -> None:
    with launch(tmp_path, "collectives", "decode", *ENDLESS) as bench:
        bench.wait_for_ranks(2)
        if at_work:
            bench.wait_for_begin("collectives")
        end(bench)
        document = bench.wait_for_document()
        assert bench.process.returncode == status
        assert [(part["part"], part["status"]) for part in document["parts"]] == [
            ("collectives", "failed"),
            ("decode", "skipped"),
        ]
        assert bench.list_survivors() == []
        assert list(tmp_path.iterdir()) == []


def test_killed_launcher_leaves_no_process(tmp_path: Path) -> None:
    with launch(tmp_path, "collectives", *ENDLESS) as bench:
        bench.wait_for_ranks(2)
        bench.process.kill()
        bench.process.wait()
        wait_for(lambda: not bench.list_survivors(), "nothing is left")


def test_closed_output_ends_the_run(tmp_path: Path) -> None:
    """The terminal is gone: the next line cannot be written, and the run ends."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "agent.bench",
            "collectives",
            "--plan",
            "quick",
            "--ranks",
            "2",
            "--repeats",
            "50",
        ],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    while b"all_reduce" not in process.stdout.readline():
        pass
    started = processes.list_descendants(process.pid)
    assert len(started) >= 3, "torchrun and two ranks"
    process.stdout.close()
    assert process.communicate(timeout=PATIENCE_SECONDS)[1] == b""
    assert process.returncode == 128 + signal.SIGPIPE
    assert [pid for pid in started if is_running(pid)] == []
    assert list(tmp_path.iterdir()) == []
