"""`fab bench`: on one rig, without PyTorch, and over two rigs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.lab.operator import fab, start, wait_until
from tests.lab.validation.conftest import NAME, SECOND, Proven


def documents(text: str) -> dict[str, dict[str, object]]:
    by_rig: dict[str, dict[str, object]] = json.loads(text)
    return by_rig


@pytest.mark.extended
def test_columns_match_nccl_tests(proven: Proven) -> None:
    result = fab(
        proven.inventory, NAME, "bench", "--parts", "collectives", "--max-bytes", "64K", seconds=120
    )
    assert result.status == 0, result.text
    result.assert_shows("# all_reduce", "#wrong", "redop", "busbw")
    wait_until(lambda: proven.leftovers() == [])


@pytest.mark.extended
def test_json_is_the_document(proven: Proven) -> None:
    result = fab(
        proven.inventory,
        NAME,
        "bench",
        "--json",
        "--parts",
        "decode,pipeline",
        "--plan",
        "quick",
        seconds=120,
    )
    assert result.status == 0, result.text
    document = documents(result.stdout)[NAME]
    assert document["format"] == "deeprig-bench"
    workloads = document["workloads"]
    assert isinstance(workloads, list)
    assert {workload["workload"] for workload in workloads} == {"decode", "pipeline"}
    assert all(workload["check"]["right"] for workload in workloads)


@pytest.mark.extended
def test_a_system_without_private_networks_is_measured_with_a_warning(proven: Proven) -> None:
    """A container may not start the loopback interface of a private network; a rig may."""
    done = proven.rig.run("/opt/deeprig/bin/deeprig-bench collectives --plan quick --max-bytes 64K")
    assert "warning: this system has no private networks" in done.stderr
    wait_until(lambda: proven.leftovers() == [])


def test_unknown_part_is_refused(proven: Proven) -> None:
    result = fab(proven.inventory, NAME, "bench", "--parts", "tesnor")
    assert result.status != 0
    result.assert_shows("tesnor")


def test_nccl_without_a_gpu_is_refused(proven: Proven) -> None:
    done = proven.rig.run("/opt/deeprig/bin/deeprig-bench --backend nccl --plan quick", check=False)
    assert done.returncode == 4
    assert "Traceback" not in done.stdout + done.stderr
    wait_until(lambda: proven.leftovers() == [])


def test_missing_pytorch_is_reported(proven: Proven) -> None:
    # An empty folder over the environment: to move it away would copy it out of the image.
    proven.rig.run("mkdir -p /run/empty && mount --bind /run/empty /opt/deeprig/venv")
    try:
        result = fab(proven.inventory, NAME, "bench", "--plan", "quick")
    finally:
        proven.rig.run("umount /opt/deeprig/venv")
    assert result.status == 2
    result.assert_shows("PyTorch is missing", "fab provision")


@pytest.mark.extended
def test_two_rigs_run_one_distributed_job(pair: Path, proven: Proven) -> None:
    result = fab(
        pair,
        f"{NAME},{SECOND}",
        "bench",
        "--json",
        "--nodes",
        "2",
        "--ranks",
        "1",
        "--interface",
        "lo",
        "--parts",
        "collectives,ddp",
        "--plan",
        "quick",
        "--max-bytes",
        "64K",
        seconds=200,
    )
    assert result.status == 0, result.text
    by_rig = documents(result.stdout)
    assert {document["nodes"] for document in by_rig.values()} == {2}
    assert {document["ranks"] for document in by_rig.values()} == {2}
    measured = [document for document in by_rig.values() if document["collectives"]]
    assert len(measured) == 1
    wait_until(lambda: proven.leftovers() == [])


@pytest.mark.extended
def test_rendezvous_port_in_use_is_reported(pair: Path, proven: Proven) -> None:
    address = proven.rig.address
    code = f"import socket, time; s = socket.create_server(('{address}', 29400)); time.sleep(999)"
    proven.rig.run(f"systemd-run --unit=taken python3 -c {shlex.quote(code)}")
    wait_until(lambda: ":29400" in proven.rig.run("ss -Hltn").stdout)
    try:
        result = fab(
            pair,
            f"{NAME},{SECOND}",
            "bench",
            "--nodes",
            "2",
            "--ranks",
            "1",
            "--parts",
            "collectives",
            "--plan",
            "quick",
            seconds=120,
        )
    finally:
        proven.rig.run("systemctl stop taken")
    assert result.status == 2, result.text
    result.assert_shows("29400", f"stopped, because {NAME} failed", SECOND)
    wait_until(lambda: proven.leftovers() == [])


@pytest.mark.extended
def test_next_run_waits_for_a_run_without_an_operator(proven: Proven) -> None:
    """The next run waits until the lost one ends, which does not disturb it."""
    lost = start(proven.inventory, NAME, "bench", "--json")
    wait_until(lambda: any("torch.distributed" in line for line in proven.leftovers()))
    lost.kill()
    lost.communicate(timeout=60)
    for _ in range(3):
        result = fab(
            proven.inventory,
            NAME,
            "bench",
            "--parts",
            "collectives",
            "--plan",
            "quick",
            "--max-bytes",
            "64K",
            seconds=120,
        )
        assert result.status == 0, result.text
    wait_until(lambda: proven.leftovers() == [])


def test_more_nodes_than_rigs_is_refused(proven: Proven) -> None:
    result = fab(proven.inventory, NAME, "bench", "--nodes", "2")
    assert result.status == 2
    result.assert_shows("--nodes 2 needs as many rigs")
