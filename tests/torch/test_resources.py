"""Missing or busy resources: no PyTorch, a port in use, busy GPUs.

Two rigs that meet are tests/lab/validation/test_bench.py's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.bench import resources
from agent.bench.errors import UnusableError
from agent.bench.resources import ResourceRequest
from tests.torch.launch import PATIENCE_SECONDS, ROOT, launch
from tests.unit.agent.web.server import wait_for

HERE = Path(__file__).parent
FEW = ("--plan", "quick", "--ranks", "2", "--max-bytes", "4K", "--repeats", "1")


def start_bench(*words: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "agent.bench", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_missing_pytorch_is_one_line_and_status_4() -> None:
    done = start_bench(*FEW, flags=("-S",))
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "has no PyTorch" in line
    assert "/opt/deeprig/venv" in line
    assert "no PyTorch" not in done.stdout, "a terminal shows both"


def test_nccl_without_a_gpu_is_refused() -> None:
    done = start_bench("collectives", "--backend", "nccl", *FEW)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "--backend gloo" in line


def test_part_that_needs_two_ranks_is_refused_for_one() -> None:
    done = start_bench("collectives", "ddp", "--backend", "gloo", "--ranks", "1")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "collectives needs two ranks" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nodes", "2"), "--rendezvous HOST:PORT"),
        (("--nodes", "2", "--node-rank", "2", "--rendezvous", "127.0.0.1:1"), "The first rig is 0"),
        (("--nodes", "2", "--rendezvous", "no.such.host.invalid:1"), "can't meet"),
        (("--min-bytes", "8X"), "not a size"),
        (("allreduce",), "unknown part 'allreduce'"),
        (("--plan", "slow"), "invalid choice"),
        (("--results", "/no/such"), "/no/such is not a folder"),
        (("--output", "/no/such/file.json"), "/no/such is not a folder"),
        (("--output", "/proc/file.json"), "/proc can't be written to: No such file"),
        (("--output", "/tmp"), "--output /tmp is a folder"),
        (("--results", "/proc"), "/proc can't be written to: No such file"),
        (("--min-bytes", "1M", "--max-bytes", "1K"), "no sizes"),
        (("--repeats", "0"), "1 or more"),
        (("--ranks", "0"), "1 or more"),
    ],
)
def test_impossible_options_are_one_line_and_status_4(words: tuple[str, ...], message: str) -> None:
    done = start_bench("--backend", "gloo", *words)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert message in line


def test_rendezvous_port_in_use_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place = f"127.0.0.1:{other.getsockname()[1]}"
        done = start_bench("--backend", "gloo", "--nodes", "2", "--rendezvous", place, *FEW)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert place in line
    assert "another program uses the port" in line.lower()


def test_rigs_use_the_interface_towards_the_rendezvous() -> None:
    """By default gloo uses the address of the rig's name in /etc/hosts: 127.0.1.1."""
    rigs = resources.find_rigs(ResourceRequest(nodes=2, node_rank=1, rendezvous="127.0.0.1:29400"))
    assert (rigs.address, rigs.interface) == ("127.0.0.1", "lo")
    message = ResourceRequest(nodes=2, node_rank=1, rendezvous="127.0.0.1:29400", interface="eth7")
    assert resources.find_rigs(message).interface == "eth7"
    assert resources.find_interface("192.0.2.1") == ""


def test_rendezvous_name_that_resolves_to_loopback_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "find_local_address", lambda host, port: "127.0.1.1")
    with pytest.raises(UnusableError, match=r"rig1 is 127\.0\.1\.1 here"):
        resources.find_rigs(ResourceRequest(nodes=2, rendezvous="rig1:29400"))


def test_deadline_before_the_first_result_is_a_hang(tmp_path: Path) -> None:
    with launch(tmp_path, "decode", "--deadline", "0.5", *FEW) as bench:
        document = bench.wait_for_document()
        assert bench.process.returncode == 2
    (problem,) = document["problems"]
    assert (problem["part"], problem["kind"]) == ("decode", "hang")
    assert "--deadline" in problem["message"]


def test_busy_gpus_prevent_the_run(tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE / "busy"), str(ROOT)])
    busy = tmp_path / "busy"
    busy.write_text(str(os.getpid()))
    with launch(
        tmp_path, "decode", "--yield-to-jobs", *FEW, PYTHONPATH=path, BUSY=str(busy)
    ) as bench:
        document = bench.wait_for_document()
        assert bench.process.returncode == 5
    assert document["parts"] == []
    assert f"({os.getpid()}) on 0000:04:00.0" in document["problems"][0]["message"]


@pytest.mark.parametrize("busy", [True, False])
def test_once_flag_reports_busy_gpus_by_its_status(tmp_path: Path, busy: bool) -> None:
    """A systemd unit's condition uses it; the program on the GPU is not below its parent."""
    path = os.pathsep.join([str(HERE / "busy"), str(ROOT)])
    if busy:
        (tmp_path / "busy").write_text("1")
    done = subprocess.run(
        [sys.executable, "-m", "agent.bench.idle", "--once"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "BUSY": str(tmp_path / "busy")},
        check=False,
    )
    assert done.returncode == (75 if busy else 0)
    assert ("(1) on 0000:04:00.0" if busy else "the GPUs are idle") in done.stdout


def test_ended_rank_is_not_taken_for_another_program(tmp_path: Path) -> None:
    """NVML lists it while the driver frees its memory, after the kernel has removed it."""
    path = os.pathsep.join([str(HERE / "busy"), str(ROOT)])
    busy, looks = tmp_path / "busy", tmp_path / "busy.looks"
    with subprocess.Popen(["sleep", "60"]) as rank:
        busy.write_text(str(rank.pid))
        with subprocess.Popen(
            [sys.executable, "-m", "agent.bench.idle"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "BUSY": str(busy)},
        ) as looker:
            assert looker.stdout is not None
            assert looker.stdout.readline() == '""\n'
            rank.kill()
            rank.wait()
            before = looks.stat().st_size
            wait_for(lambda: looks.stat().st_size > before, "it looks again")
            message = [looker.stdout.readline(), looker.stdout.readline()]
            looker.kill()
    assert message == ['""\n'] * 2


def test_run_stops_when_another_program_starts(tmp_path: Path) -> None:
    path = os.pathsep.join([str(HERE / "busy"), str(ROOT)])
    busy = tmp_path / "busy"
    with launch(
        tmp_path,
        "collectives",
        "decode",
        "--yield-to-jobs",
        "--ranks",
        "2",
        "--repeats",
        "100000",
        PYTHONPATH=path,
        BUSY=str(busy),
    ) as bench:
        bench.wait_for_ranks(2)
        busy.write_text(str(bench.find_rank(1)))  # our own
        looks = tmp_path / "busy.looks"
        before = looks.stat().st_size
        wait_for(lambda: looks.stat().st_size >= before + 2, "it looked, and found our own")
        assert bench.process.poll() is None
        (tmp_path / "new").write_text(str(os.getpid()))
        (tmp_path / "new").replace(busy)
        document = bench.wait_for_document()
        assert bench.process.returncode == 5
        assert bench.list_survivors() == []
    assert [part["status"] for part in document["parts"]] == ["yielded", "skipped"]
    assert document["problems"][0]["kind"] == "yielded"
