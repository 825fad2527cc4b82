"""Trials of transports between GPUs, and the advice that follows from them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.bench import transport_trials
from agent.bench.entries import Share, TrialEntry
from agent.bench.job import Ending

P2P = "rig:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM\n"
SHM = "rig:1:1 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM/direct/direct\n"
ROWS = {
    "default": {"hazard": "default", "environment": {}},
    "p2p_on": {"hazard": "p2p_on", "environment": {"NCCL_P2P_LEVEL": "SYS"}},
    "p2p_off": {"hazard": "p2p_off", "environment": {"NCCL_P2P_DISABLE": "1"}},
    "shm_off": {"hazard": "shm_off", "environment": {"NCCL_SHM_DISABLE": "1"}},
}


def measure_rate(rate: float, wrong: int = 0) -> Share:
    size: Any = {"bus_bandwidth_bytes_per_second": rate, "wrong_values": wrong}
    return {
        "collectives": [
            {"collective": "all_reduce", "dtype": "float32", "ranks": 2, "sizes": [size]}
        ]
    }


def conclude_trials(**endings: Ending) -> dict[str, TrialEntry]:
    entries = [transport_trials.build_entry(ROWS[name], ending) for name, ending in endings.items()]
    transport_trials.add_advice(entries)
    return {entry["hazard"]: entry for entry in entries}


def create_ok_ending(rate: float, log: str, wrong: int = 0) -> Ending:
    return Ending("ok", share=measure_rate(rate, wrong), transports_log=log)


def test_entry_describes_a_trial() -> None:
    entry = transport_trials.build_entry(ROWS["p2p_off"], create_ok_ending(6e9, SHM))
    assert entry == {
        "hazard": "p2p_off",
        "environment": {"NCCL_P2P_DISABLE": "1"},
        "transports": {"0->1": "SHM/direct/direct"},
        "bus_bandwidth_bytes_per_second": 6e9,
        "wrong_values": 0,
        "status": "ok",
        "advice": "",
    }


def test_successful_trials_give_no_advice() -> None:
    trials = conclude_trials(
        default=create_ok_ending(6e9, SHM),
        p2p_on=create_ok_ending(6.1e9, P2P),
        p2p_off=create_ok_ending(6e9, SHM),
    )
    assert [entry["advice"] for entry in trials.values()] == ["", "", ""]


@pytest.mark.parametrize(
    "ending", [create_ok_ending(9e9, P2P, wrong=5), Ending("hang", transports_log=P2P)]
)
def test_failing_default_p2p_is_advised_off(ending: Ending) -> None:
    trials = conclude_trials(default=ending, p2p_off=create_ok_ending(6e9, SHM))
    assert "set NCCL_P2P_DISABLE=1" in trials["default"]["advice"]
    assert trials["p2p_off"]["advice"] == ""
    assert trials["default"]["status"] == ending.kind


def test_failing_forced_p2p_is_advised_against() -> None:
    trials = conclude_trials(
        default=create_ok_ending(6e9, SHM), p2p_on=create_ok_ending(9e9, P2P, wrong=1)
    )
    assert trials["default"]["advice"] == ""
    assert "never NCCL_P2P_LEVEL" in trials["p2p_on"]["advice"]
    assert "worth" not in trials["p2p_on"]["advice"], "wrong is never fast"


def test_faster_forced_p2p_is_advised() -> None:
    trials = conclude_trials(default=create_ok_ending(6e9, SHM), p2p_on=create_ok_ending(12e9, P2P))
    assert trials["p2p_on"]["advice"].startswith("Values are right, and it is 2.0 times as fast")


@pytest.mark.parametrize("log", [SHM, P2P])
def test_setting_without_a_transport_change_gives_no_advice(log: str) -> None:
    """GeForce drivers have no P2P: the difference is noise."""
    trials = conclude_trials(
        default=create_ok_ending(6e9, log),
        p2p_on=create_ok_ending(7e9, log),
        p2p_off=create_ok_ending(8e9, log),
    )
    assert [entry["advice"] for entry in trials.values()] == ["", "", ""]


def test_faster_trial_without_p2p_is_advised() -> None:
    trials = conclude_trials(default=create_ok_ending(6e9, P2P), p2p_off=create_ok_ending(9e9, SHM))
    assert "set NCCL_P2P_DISABLE=1" in trials["p2p_off"]["advice"]


def test_failure_without_p2p_is_not_blamed_on_p2p() -> None:
    trials = conclude_trials(
        default=create_ok_ending(6e9, SHM, wrong=3), shm_off=Ending("died", transports_log=SHM)
    )
    for entry in trials.values():
        assert "also fails without P2P" in entry["advice"]
    assert trials["shm_off"]["wrong_values"] is None


def test_hang_without_a_transport_log_is_judged_by_the_p2p_off_trial() -> None:
    """P2P is the cause if the trial without it succeeds."""
    trials = conclude_trials(default=Ending("hang"), p2p_off=create_ok_ending(6e9, SHM))
    assert "set NCCL_P2P_DISABLE=1" in trials["default"]["advice"]
    trials = conclude_trials(default=Ending("hang"), p2p_off=Ending("hang"))
    for entry in trials.values():
        assert "before NCCL chose a transport" in entry["advice"]
