"""The checks of the benchmarks, with documents of benchmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.rig import test_links, test_load
from tests.rig.load import Counters, Load
from tests.rig.proof import Proof, Row
from tests.rig.subject import Silent, Subject

ADDRESS, OTHER = "0000:04:00.0", "0000:06:00.0"
TIMED = {"time_seconds": 0.02, "times": [0.01, 0.02, 0.04], "wrong_values": 0}
GEMM = {"rank": 0, "gpu": ADDRESS, "dtype": "float16", "flops_per_second": 8e12}
TRANSFER = {
    "gpu": ADDRESS,
    "direction": "host_to_device",
    "pinned": True,
    "bandwidth_bytes_per_second": 3e9,
}
PEER = {"from": ADDRESS, "to": OTHER, "access": True, "bandwidth_bytes_per_second": 2e9}


def build_load(**lists: Any) -> Load:
    """Return a load whose document has these lists."""
    document = {
        "backend": "nccl",
        "ranks": 2,
        "gpus": [ADDRESS, OTHER],
        "parts": [],
        "problems": [],
        "gemm": [],
        "transfers": [],
        "peer": [],
        "tools": [],
    }
    return Load(Counters(), Counters(), 0.0, document | lists)


def rows(check: Any, load: Load, *words: Any) -> list[Row]:
    """Run a check; return its rows."""
    proof = Proof()
    check(load, *words, proof)
    return proof.rows


@pytest.mark.parametrize("more", [TIMED, {"wrong_values": 0}], ids=["now", "an older document"])
def test_rows_contain_the_rates_of_the_repeats(more: dict[str, Any]) -> None:
    agent: dict[str, Any] = {"pcie": {"paths": [], "devices": []}}
    subject = Subject("rig", None, {"gpus": []}, {})
    load = build_load(gemm=[GEMM | more], transfers=[TRANSFER | more], peer=[PEER | more])
    measured = [
        *rows(test_load.test_gemm, load),
        *rows(test_load.test_transfers, load, subject, agent),
        *rows(test_load.test_peer, load),
    ]
    for row, rate in zip(measured, (8e12, 3e9, 2e9), strict=True):
        assert row.value == rate
        assert row.repeats == ((2 * rate, rate, rate / 2) if "times" in more else ())


@pytest.mark.parametrize(
    "check", [test_links.test_no_xid_under_load, test_links.test_no_replays_under_load]
)
def test_silent_agent_makes_the_check_unknown(check: Any) -> None:
    """After a GPU fell off the bus, "no Xid was read" does not mean "no Xid"."""
    silent, reported = Counters(silent="the agent does not answer"), Counters(replays={ADDRESS: 7})
    for before, after in ((reported, silent), (silent, reported)):
        with pytest.raises(Silent, match="the agent does not answer"):
            rows(check, replace(build_load(), before=before, after=after))


def test_gpu_without_an_earlier_count_has_no_new_replays() -> None:
    after = Counters(replays={ADDRESS: 7, OTHER: 9})
    load = replace(build_load(), before=Counters(replays={OTHER: 8}), after=after)
    replays = rows(test_links.test_no_replays_under_load, load)
    assert [(row.reading, row.status) for row in replays] == [("0", "ok"), ("1", "warning")]


@pytest.mark.parametrize(
    ("reported", "status", "words"),
    [
        ({"agrees": True, "reason": "", "wrong_values": 0}, "ok", "agrees"),
        ({"agrees": False, "reason": "2 wrong values", "wrong_values": 2}, "critical", "2 wrong"),
        ({"agrees": False, "reason": "ours 4.00", "wrong_values": 0}, "warning", "ours 4.00"),
        ({"agrees": None, "reason": "did not end in time"}, "unknown", "did not end"),
    ],
)
def test_nvidia_tools_are_judged(reported: dict[str, Any], status: str, words: str) -> None:
    proof = Proof()
    try:
        test_load.test_tools(build_load(tools=[{"tool": "all_reduce_perf"} | reported]), proof)
    except AssertionError:
        assert status == "critical"
    (row,) = proof.rows
    assert row.status == status
    assert words in row.reading
