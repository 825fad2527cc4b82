"""Ranks that die, stop, or compute wrong values: the document of one run (troubled/)."""

from __future__ import annotations

import pytest

from agent.bench.entries import BenchDocument, Problem
from tests.torch.launch import BenchProcess


def problems(document: BenchDocument) -> dict[str, Problem]:
    return {problem["part"]: problem for problem in document["problems"]}


@pytest.fixture(scope="module")
def troubled(in_trouble: BenchProcess) -> BenchDocument:
    """Return the document of that run."""
    document = in_trouble.wait_for_document()
    assert list(in_trouble.folder.iterdir()) == [], "no files are left"
    return document


def test_wrong_sums_are_counted(troubled: BenchDocument) -> None:
    wrong = {
        entry["collective"]: sum(size["wrong_values"] for size in entry["sizes"])
        for entry in troubled["collectives"]
    }
    sizes = len(troubled["collectives"][0]["sizes"])
    assert wrong.pop("all_reduce") == 2 * sizes, "one value of rank 1, in warm-up and repeat"
    assert len(wrong) == 6
    assert set(wrong.values()) == {0}
    assert problems(troubled)["collectives"]["kind"] == "wrong_values"
    assert "no GPU was involved" in problems(troubled)["collectives"]["advice"]
    right = {entry["workload"]: entry["check"]["right"] for entry in troubled["workloads"]}
    assert right == {"moe": False, "decode": False}


def test_killed_rank_is_a_death(troubled: BenchDocument) -> None:
    problem = problems(troubled)["pairs"]
    assert problem["kind"] == "died"
    assert problem["message"] == "rank 1 was killed by SIGKILL"
    assert problem["ranks"]["1"]["exit"] == -9
    assert problem["ranks"]["1"]["state"] == "gone"
    assert "memory" in problem["advice"]


def test_exception_of_a_rank_is_a_death(troubled: BenchDocument) -> None:
    problem = problems(troubled)["gemm"]
    assert problem["kind"] == "died"
    assert problem["message"] == "rank 1 ended with status 1"
    assert problem["ranks"]["1"]["exit"] == 1
    last = problem["ranks"]["1"]["log_tail"].splitlines()[-1]
    assert last.endswith("RuntimeError: a bit in memory is lost")
    assert "agent/bench/gemm.py" in problem["ranks"]["1"]["log_tail"]


def test_stopped_rank_is_a_hang(troubled: BenchDocument) -> None:
    problem = problems(troubled)["ddp"]
    assert problem["kind"] == "hang"
    assert "rank 1 is T (stopped)" in problem["message"]
    stopped, waiting = problem["ranks"]["1"], problem["ranks"]["0"]
    assert (stopped["state"], stopped["stack"]) == ("T (stopped)", "")
    assert "agent/bench/workloads/ddp.py" in waiting["stack"]
    assert waiting["at"].startswith("making layer")


def test_remaining_parts_still_run(troubled: BenchDocument, in_trouble: BenchProcess) -> None:
    statuses = {part["part"]: part["status"] for part in troubled["parts"]}
    assert statuses == {
        "gemm": "died",
        "collectives": "failed",
        "pairs": "died",
        "ddp": "hang",
        "moe": "failed",
        "decode": "failed",
    }
    assert in_trouble.process.returncode == 1, "wrong values are worse than a hang or a death"
    assert in_trouble.list_survivors() == []
