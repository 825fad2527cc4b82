"""Verdicts, by the cases of the *.yml files beside this one.

A case is the healthy rig of tests/unit/agent/samples.py with changes (`sample`), what grew in the
window (`increases`), a jump of the clock (`clock_jump`), and what is expected: check, subject
(a GPU's address or `rig`, which needs no mention), status, and a part of `reading`, `expectation`
and `advice`, or the `whole_reading`. The status `none` means that no verdict exists. Every
verdict that a case does not name must be ok, so that a case shows all effects of a fault.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.checks import context, gpu, host, judgements, nccl, pcie, system, validation
from agent.checks.context import CheckTable
from agent.checks.judgements import STATUSES
from agent.checks.sample import Verdict
from agent.checks.verdicts import ORDER, find_worst_status, judge_sample
from tests.unit.agent import samples

FOLDER = Path(__file__).parent
CASES: list[dict[str, Any]] = [
    {"file": file.stem, **case}
    for file in sorted(FOLDER.glob("*.yml"))
    for case in yaml.safe_load(file.read_text())
]
NAMES = [f"{case['file']}: {case['case']}" for case in CASES]
ROWS = samples.table("checks")


class RecordingTable(CheckTable):
    """The table of checks; records which advice each verdict selects."""

    def __init__(self) -> None:
        super().__init__(ROWS)
        self.asked: dict[tuple[str, str], str] = {}

    def word_verdict(self, check: str, subject: str, *rest: Any, **words: Any) -> Verdict:
        verdict = super().word_verdict(check, subject, *rest, **words)
        if verdict.status != "ok" and len(rest) > 3:
            self.asked[check, subject] = rest[3]
        return verdict


def judge_case(case: dict[str, Any]) -> tuple[dict[tuple[str, str], Verdict], RecordingTable]:
    noted = RecordingTable()
    sample = samples.make_sample(case.get("sample"))
    verdicts = judge_sample(
        samples.context(sample, case.get("increases"), case.get("clock_jump"), noted)
    )
    by_check = {(verdict.check, verdict.subject): verdict for verdict in verdicts}
    assert len(by_check) == len(verdicts), "two verdicts of one check and subject"
    return by_check, noted


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_verdicts_match_the_case(case: dict[str, Any]) -> None:
    verdicts, _ = judge_case(case)
    for wanted in case["expect"]:
        key = (wanted["check"], wanted.get("subject", "rig"))
        if wanted["status"] == "none":
            assert key not in verdicts
            continue
        verdict = verdicts.pop(key)
        assert verdict.status == wanted["status"], verdict
        for part in ("reading", "expectation", "advice"):
            assert wanted.get(part, "") in getattr(verdict, part)
        assert wanted.get("whole_reading", verdict.reading) == verdict.reading
        row = ROWS[verdict.check]
        assert (verdict.title, verdict.why) == (row["title"], row["why"])
        if verdict.status == "ok":
            assert verdict.advice == ""
        assert not re.search(r"\{\w*\}", verdict.advice), "something was not filled in"
    assert [verdict for verdict in verdicts.values() if verdict.status != "ok"] == []


def test_healthy_rig_passes_every_check() -> None:
    verdicts, _ = judge_case({})
    assert {verdict.status for verdict in verdicts.values()} == {"ok"}
    # A GeForce counts no memory errors.
    assert {check for check, _ in verdicts} == set(ROWS) - {"gpu-memory-errors"}


def list_texts(function: Any) -> set[str]:
    """The texts in a function's code."""
    return {
        node.value
        for node in ast.walk(ast.parse(inspect.getsource(function)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def list_statuses() -> set[tuple[str, str]]:
    """Each check, and the statuses in its function and in the judgements that it calls."""
    pairs = set()
    for module in (gpu, host, nccl, pcie, system, validation):
        for function in module.CHECKS:
            calls = [
                node
                for node in ast.walk(ast.parse(inspect.getsource(function)))
                if isinstance(node, ast.Call)
            ]
            texts = list_texts(function).union(
                *(
                    list_texts(getattr(judgements, node.func.id))
                    for node in calls
                    if isinstance(node.func, ast.Name) and hasattr(judgements, node.func.id)
                )
            )
            (check,) = {
                node.args[0].value
                for node in calls
                if isinstance(node.func, ast.Attribute)
                and node.func.attr == "word_verdict"
                and isinstance(node.args[0], ast.Constant)
            }
            pairs |= {(str(check), status) for status in texts & set(STATUSES)}
    return pairs


def test_every_check_status_and_advice_has_a_case() -> None:
    statuses, advice = set(), set()
    for case in CASES:
        _, noted = judge_case(case)
        for wanted in case["expect"]:
            key = (wanted["check"], wanted.get("subject", "rig"))
            statuses.add((wanted["check"], wanted["status"]))
            if "advice" in wanted and key in noted.asked:
                advice.add((wanted["check"], noted.asked[key]))
    given = list_statuses()
    assert {check for check, _ in given} == set(ROWS)
    assert given - statuses == set(), "statuses without a case"
    keys = {
        (check, key)
        for check, row in ROWS.items()
        if isinstance(row["advice"], dict)
        for key in row["advice"]
    }
    assert keys - advice == set(), "advice without a case"


def test_warning_and_critical_verdicts_give_advice() -> None:
    """Unknown verdicts may have none: another problem explains them."""
    for case in CASES:
        for verdict in judge_case(case)[0].values():
            if verdict.status in ("warning", "critical"):
                assert verdict.advice, (case["case"], verdict)


def test_verdicts_are_sorted_and_unknown_does_not_change_the_worst() -> None:
    changes = {
        "host": {"reboot_required": True},
        "gpus": {"0000:06:00.0": {"reading": {"temperature_celsius": 95}}},
        "paths": {"0000:04:00.0": {"loaded_speed": None}},
    }
    verdicts = judge_sample(samples.context(samples.make_sample(changes)))
    order = [ORDER[verdict.status] for verdict in verdicts]
    assert order == sorted(order)
    assert [verdict.check for verdict in verdicts[:3]] == [
        "gpu-temperature",
        "reboot-required",
        "pcie-speed",
    ]
    assert find_worst_status(verdicts) == "critical"
    assert find_worst_status(verdicts[1:]) == "warning"
    assert verdicts[2].status == "unknown"
    assert find_worst_status(verdicts[2:]) == "ok"
    assert find_worst_status(()) == "ok"


@pytest.mark.parametrize(
    ("function", "amount", "text"),
    [
        (context.format_duration, 5, "5 s"),
        (context.format_duration, 60, "1 min"),
        (context.format_duration, 5400, "1.5 h"),
        (context.format_duration, 86400, "1 d"),
        (context.format_size, 24 << 30, "24 GiB"),
        (context.format_size, 1 << 20, "1 MiB"),
        (context.format_size, 512, "0.5 KiB"),
        (context.format_speed, 16e9, "16 GT/s"),
        (context.format_bandwidth, 187.5e6, "0.188 GB/s"),
    ],
)
def test_numbers_are_formatted_for_people(function: Any, amount: float, text: str) -> None:
    assert function(amount) == text
