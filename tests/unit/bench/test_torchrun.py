"""torchrun: its command line, and its messages about ranks that died."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.bench.torchrun import (
    Death,
    RigGroup,
    build_command,
    build_environment,
    describe_status,
    find_deaths,
)

#: torch 2.13; the first in its list lost a peer and raised, the second was killed.
SUMMARY = """\
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
=======================================================
agent.bench.rank FAILED
-------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-24_11:52:17
  host      : localhost
  rank      : 2 (local_rank: 2)
  exitcode  : {second} (pid: 15508)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
[2]:
  time      : 2026-11-24_11:52:17
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 15506)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 15506
-------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_11:52:17
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 15507)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
=======================================================
"""


def test_death_by_a_signal_precedes_exceptions() -> None:
    deaths = find_deaths(SUMMARY.format(second="-9"), {1: 5.0})
    assert deaths == [Death(2, -9), Death(1, 1), Death(0, -15)]


def test_exceptions_are_ordered_as_torchrun_reported_them() -> None:
    deaths = find_deaths(SUMMARY.format(second="1"), {})
    assert deaths == [Death(1, 1), Death(2, 1), Death(0, -15)]


def test_exceptions_are_ordered_by_the_time_of_the_ranks() -> None:
    """torchrun may report all of them at the same time."""
    deaths = find_deaths(SUMMARY.format(second="1"), {1: 5.1, 2: 5.0})
    assert deaths == [Death(2, 1), Death(1, 1), Death(0, -15)]


def test_log_without_a_summary_has_no_deaths() -> None:
    assert find_deaths("Traceback (most recent call last): …", {}) == []


def test_exit_statuses_are_described() -> None:
    assert describe_status(-11) == "was killed by SIGSEGV"
    assert describe_status(-250) == "was killed by signal 250"
    assert describe_status(3) == "ended with status 3"


def test_single_rig_uses_a_port_of_torchrun() -> None:
    words = build_command(3, RigGroup(), "run", Path("/job.json"))
    assert "--standalone" in words
    assert not any("rdzv-endpoint" in word for word in words)
    assert words[-3:] == ["-m", "agent.bench.rank", "/job.json"]


@pytest.mark.parametrize(("rank", "host"), [(0, "true"), (1, "false")])
def test_several_rigs_use_the_rendezvous(rank: int, host: str) -> None:
    nodes = RigGroup(2, rank, "10.0.0.1:29500", "10.0.0.2", "eth1")
    words = build_command(3, nodes, "run", Path("/job.json"))
    assert {
        "--nnodes=2",
        "--nproc-per-node=3",
        "--rdzv-endpoint=10.0.0.1:29500",
        "--local-addr=10.0.0.2",
        "--rdzv-id=run",
    } <= set(words)
    assert any(word.startswith(f"--rdzv-conf=is_host={host},") for word in words)
    made = build_environment({}, "nccl", nodes, {})
    assert made["NCCL_SOCKET_IFNAME"] == made["GLOO_SOCKET_IFNAME"] == "eth1"


def test_environment_depends_on_the_backend() -> None:
    user_environment = {"PATH": "/bin", "NCCL_SOCKET_IFNAME": "eth0"}
    gloo = build_environment(user_environment, "gloo", RigGroup(), {"NCCL_DEBUG": "INFO"})
    assert gloo["GLOO_SOCKET_IFNAME"] == "lo", "one rig needs no network"
    assert gloo["NCCL_SOCKET_IFNAME"] == "eth0", "the user's setting is kept"
    assert (gloo["OMP_NUM_THREADS"], gloo["NCCL_DEBUG"], gloo["PATH"]) == ("1", "INFO", "/bin")
    nccl = build_environment(user_environment, "nccl", RigGroup(), {})
    assert nccl["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "ranks are in the order of the slots"
    assert "OMP_NUM_THREADS" not in nccl
    assert user_environment == {"PATH": "/bin", "NCCL_SOCKET_IFNAME": "eth0"}
    several = build_environment({}, "gloo", RigGroup(2, 0, "a:1", "a"), {})
    assert "GLOO_SOCKET_IFNAME" not in several
