"""The document: wrong values, the exit status, and the results for the agent."""

from __future__ import annotations

from typing import Any

import pytest

from agent.bench import document
from agent.bench.entries import BenchDocument, Problem
from agent.readings.nccl import parse

SIZE = {
    "size_bytes": 8,
    "time_seconds": 1e-5,
    "bus_bandwidth_bytes_per_second": 1e6,
    "wrong_values": 0,
}
WRONG = SIZE | {"wrong_values": 2}


def create_document(**changes: Any) -> BenchDocument:
    made: Any = document.create_document(
        plan="quick", backend="nccl", ranks=2, nodes=1, hostname="rig", now=1772366400.0
    )
    changed: BenchDocument = made | changes
    return changed


def build_problem(kind: str) -> Problem:
    return document.build_problem("ddp", kind, "what happened")


@pytest.mark.parametrize(
    ("kinds", "statuses", "status"),
    [
        ([], ["ok"], 0),
        ([], ["ok", "skipped"], 0),
        (["wrong_values"], ["failed"], 1),
        (["hang"], ["hang", "ok"], 2),
        (["died"], ["died"], 3),
        (["unusable"], ["skipped"], 4),
        (["unusable"], ["skipped", "ok"], 0),
        (["died", "hang"], ["died", "hang"], 2),
        (["hang", "wrong_values", "died"], ["hang"], 1),
        (["yielded", "wrong_values"], ["yielded"], 5),
    ],
)
def test_exit_status_is_that_of_the_most_serious_problem(
    kinds: list[str], statuses: list[str], status: int
) -> None:
    parts = [{"part": "ddp", "status": part_status} for part_status in statuses]
    made = create_document(problems=[build_problem(kind) for kind in kinds], parts=parts)
    assert document.compute_exit_status(made) == status


def test_right_values_are_not_listed() -> None:
    share = {
        "collectives": [{"collective": "all_reduce", "sizes": [SIZE]}],
        "pairs": [{"from": 0, "to": 1, "wrong_values": 0}],
        "workloads": [{"workload": "ddp", "check": {"right": True}}],
    }
    assert document.list_wrong_values(share) == []
    assert document.list_wrong_values({}) == []


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (
            {"collectives": [{"collective": "broadcast", "sizes": [SIZE, WRONG]}]},
            "broadcast: 2 wrong values",
        ),
        ({"pairs": [{"from": 0, "to": 1, "wrong_values": 3}]}, "rank 0 to 1: 3 wrong values"),
        (
            {
                "transfers": [
                    {"gpu": "0000:04:00.0", "direction": "host_to_device", "wrong_values": 1}
                ]
            },
            "GPU 0000:04:00.0 host_to_device: 1 wrong values",
        ),
        ({"peer": [{"from": "a", "to": "b", "wrong_values": 1}]}, "GPU a to b: 1 wrong values"),
        (
            {"gemm": [{"rank": 1, "dtype": "float16", "wrong_values": 9}]},
            "rank 1 float16 GEMM: 9 wrong values",
        ),
        (
            {"hazards": [{"hazard": "default", "wrong_values": 4}]},
            "all_reduce with NCCL's defaults: 4 wrong values",
        ),
        (
            {
                "workloads": [
                    {
                        "workload": "moe",
                        "check": {"right": False, "largest_error": 0.5, "tolerance": 1e-4},
                    }
                ]
            },
            "moe: differs from the unsplit model by 0.5 of a tensor; "
            "rounding explains at most 0.0001",
        ),
    ],
)
def test_wrong_values_are_listed_by_name(share: dict[str, Any], message: str) -> None:
    assert document.list_wrong_values(share) == [message]


def test_wrong_values_of_forced_p2p_are_not_a_failure() -> None:
    assert document.list_wrong_values({"hazards": [{"hazard": "p2p_on", "wrong_values": 4}]}) == []


def test_merge_adds_lists_and_replaces_versions() -> None:
    made: Any = create_document()
    shares: list[Any] = [
        {"collectives": [1], "torch": "2.13.0", "ranks": 9},
        {"collectives": [2], "gpus": ["0000:04:00.0"]},
    ]
    for share in shares:
        document.merge_share(made, share)
    assert (made["collectives"], made["torch"]) == ([1, 2], "2.13.0")
    assert (made["gpus"], made["ranks"]) == (["0000:04:00.0"], 2)


def test_collectives_are_extracted_for_the_agent() -> None:
    entries = [{"collective": "all_reduce", "dtype": "float32", "ranks": 2, "sizes": [SIZE]}]
    gpus = ["0000:04:00.0", "0000:06:00.0"]
    made = create_document(collectives=entries, gpus=gpus, nccl="2.29.7")
    (result,) = parse(document.extract_collectives(made), "x.json")
    assert (result.name, result.gpus, result.nccl_version) == (
        "all_reduce nccl 2",
        tuple(gpus),
        "2.29.7",
    )
    assert result.wrong_values == 0
    made["nodes"] = 2
    (result,) = parse(document.extract_collectives(made), "x.json")
    assert result.gpus == (), "addresses of two rigs mean nothing on one"
    assert document.extract_collectives(create_document()) is None
