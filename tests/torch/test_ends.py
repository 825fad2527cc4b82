"""Ends from outside. Real torchruns over gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.bench import processes
from tests.torch.launched import PATIENCE_SECONDS, ROOT, Launched, launch, running
from tests.unit.agent.web.server import wait_for

ENDLESS = ("--ranks", "2", "--repeats", "1000000", "--max-bytes", "64K")


pytestmark = pytest.mark.usefixtures("in_trouble")  # it goes on beside these


def test_torchrun_that_is_killed(tmp_path: Path) -> None:
    with launch(tmp_path, "collectives", *ENDLESS) as launched:
        launched.started(2)
        os.kill(launched.torchrun(), signal.SIGKILL)
        document = launched.ended()
        (problem,) = document["problems"]
        assert problem["part"] == "collectives"
        assert problem["message"] == "torchrun was killed by SIGKILL"
        assert launched.process.returncode == 3
        assert launched.left() == []


def interrupt(launched: Launched) -> None:
    launched.process.send_signal(signal.SIGINT)


def terminate(launched: Launched) -> None:
    launched.process.terminate()


def hang_up(launched: Launched) -> None:
    assert launched.process.stdin is not None
    launched.process.stdin.close()


@pytest.mark.parametrize(
    ("end", "at_work", "status"),
    [(interrupt, True, 130), (terminate, False, 143), (hang_up, False, 143)],
)
def test_an_end_from_outside(
    tmp_path: Path, end: Callable[[Launched], None], at_work: bool, status: int
) -> None:
    with launch(tmp_path, "collectives", "decode", *ENDLESS) as launched:
        launched.started(2)
        if at_work:
            launched.begun("collectives")
        end(launched)
        document = launched.ended()
        assert launched.process.returncode == status
        assert [(part["part"], part["status"]) for part in document["parts"]] == [
            ("collectives", "failed"),
            ("decode", "skipped"),
        ]
        assert launched.left() == []
        assert list(tmp_path.iterdir()) == []


def test_a_launcher_that_is_killed(tmp_path: Path) -> None:
    with launch(tmp_path, "collectives", *ENDLESS) as launched:
        launched.started(2)
        launched.process.kill()
        launched.process.wait()
        wait_for(lambda: not launched.left(), "nothing is left")


def test_nobody_reads_any_more(tmp_path: Path) -> None:
    """As when the terminal is gone: the next line can't be written, and all is ended."""
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
    assert [pid for pid in started if running(pid)] == []
    assert list(tmp_path.iterdir()) == []
