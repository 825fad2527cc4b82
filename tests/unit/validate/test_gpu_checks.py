"""The checks of GPUs, with and without answers of nvidia-smi and the agent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import testinfra

from tests.rig import smi, test_gpus
from tests.rig.proof import Proof
from tests.rig.smi import Smi
from tests.rig.subject import HANGS, Silent, Subject

FIRST, SECOND = "0000:08:00.0", "0000:09:00.0"
LINES = """\
00000000:08:00.0, NVIDIA GeForce RTX 3080, 10240, Enabled, 220.00, GPU-1
Unable to determine the device handle for GPU1: GPU is lost
"""
EXPECTED = {
    "gpu_memory_mib": {FIRST: 10240, SECOND: 10240},
    "power_limits_watts": {FIRST: 220, SECOND: 220},
    "power_limits_by_uuid": {},
}


class Rig(Subject):
    """Two GPUs with their readings."""

    def __init__(
        self, message: Smi, agent: Mapping[str, str] | None = None, **expected: Any
    ) -> None:
        super().__init__("rig", None, {"gpus": []}, {**EXPECTED, **expected})
        self.smi = message
        self._agent = agent

    @property
    def gpus(self) -> list[Mapping[str, Any]]:
        return [{"address": FIRST}, {"address": SECOND}]

    def agent(self) -> Mapping[str, Any]:
        if self._agent is None:
            raise Silent("the agent does not answer")
        problems = self._agent.items()
        return {"gpus": [{"address": a, "problem": p, "up": not p} for a, p in problems]}


def run_check(check: Callable[..., None], rig: Rig) -> dict[str, tuple[str, str]]:
    """Run a check; return status and reading by subject."""
    proof = Proof()
    try:
        check(*([rig, proof] if check is test_gpus.test_gpus_answer else [rig, rig.smi, proof]))
    except AssertionError:
        assert any(row.status == "critical" for row in proof.rows)
    return {row.subject: (row.status, row.reading) for row in proof.rows}


def test_lost_gpu_does_not_affect_checks_of_the_others() -> None:
    rig = Rig(smi.parse(LINES))
    answers = run_check(test_gpus.test_gpus_answer, rig)
    assert answers[FIRST] == ("ok", "NVIDIA GeForce RTX 3080")
    assert answers[SECOND][0] == "critical"
    assert "GPU is lost" in answers[SECOND][1]
    for check, reading in {
        test_gpus.test_memory_size: "10240 MiB",
        test_gpus.test_persistence: "Enabled",
        test_gpus.test_power_limit: "220 W",
    }.items():
        assert run_check(check, rig) == {
            FIRST: ("ok", reading),
            SECOND: ("unknown", "no answer"),
        }


@pytest.mark.parametrize(
    "error", ["[Unknown Error]", "[GPU is lost]", "[GPU requires reset]", "ERR!"]
)
def test_gpu_with_a_name_and_no_readings_does_not_answer(error: str) -> None:
    line = f"00000000:08:00.0, NVIDIA GeForce RTX 3080, {error}, Enabled, {error}, GPU-1\n"
    status, reading = run_check(test_gpus.test_gpus_answer, Rig(smi.parse(line)))[FIRST]
    assert status == "critical"
    assert reading == f"NVIDIA GeForce RTX 3080 (memory.total: {error})"


def test_unsupported_reading_is_unknown() -> None:
    rig = Rig(smi.parse("00000000:08:00.0, P104-100, [N/A], [N/A], [N/A], GPU-1\n"))
    for check in (
        test_gpus.test_memory_size,
        test_gpus.test_persistence,
        test_gpus.test_power_limit,
    ):
        assert run_check(check, rig)[FIRST] == ("unknown", "[N/A]")
    assert run_check(test_gpus.test_gpus_answer, rig)[FIRST] == ("ok", "P104-100")


def test_failed_nvidia_smi_is_the_reason_for_every_gpu() -> None:
    message = smi.parse(
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library …"
    )
    assert (message.gpus, message.hangs) == ({}, False)
    answers = run_check(test_gpus.test_gpus_answer, Rig(message))
    assert {status for status, _ in answers.values()} == {"critical"}
    assert all("Driver/library version mismatch" in reading for _, reading in answers.values())


def test_hung_nvidia_smi_names_the_gpu_reported_by_the_agent() -> None:
    hung = Smi({}, "nvidia-smi hangs: no answer within 15 s", hangs=True)
    answers = run_check(test_gpus.test_gpus_answer, Rig(hung, {FIRST: "", SECOND: "hung: a call"}))
    assert answers[FIRST] == ("ok", "answers the agent")
    assert answers[SECOND][0] == "critical"
    assert "hangs" in answers[SECOND][1]
    for agent in (None, {FIRST: "", SECOND: ""}):
        assert run_check(test_gpus.test_gpus_answer, Rig(hung, agent))["rig"][0] == "critical"


def test_unset_power_limit_passes() -> None:
    rig = Rig(smi.parse(LINES), power_limits_watts={})
    assert run_check(test_gpus.test_power_limit, rig) == {"rig": ("ok", "the cards' own")}


def test_power_limit_of_one_card_wins_over_its_models() -> None:
    rig = Rig(smi.parse(LINES), power_limits_by_uuid={"GPU-1": 180, "GPU-9": 100})
    assert run_check(test_gpus.test_power_limit, rig)[FIRST] == ("critical", "220 W")
    rig = Rig(smi.parse(LINES.replace("220.00", "180.00")), power_limits_by_uuid={"GPU-1": 180})
    assert run_check(test_gpus.test_power_limit, rig)[FIRST] == ("ok", "180 W")


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("print('yes')", 0, "yes"),
        ("import sys; print('no'); sys.exit(3)", 3, "no"),
        ("import time; print('begun', flush=True); time.sleep(60)", HANGS, "begun"),
    ],
)
@pytest.mark.slow
def test_command_is_killed_after_its_timeout(code: str, status: int, words: str) -> None:
    here = Subject("rig", testinfra.get_host("local://"))
    began = time.monotonic()
    assert here.within(1.5, sys.executable, "-c", code) == (status, words)
    assert time.monotonic() - began < 10


def test_missing_command_is_reported() -> None:
    here = Subject("rig", testinfra.get_host("local://"))
    assert here.within(5, "nothing-such") == (127, "nothing-such: No such file or directory")
    with pytest.raises(Silent, match="nothing-such printed nothing: "):
        here.read("nothing-such --now")
