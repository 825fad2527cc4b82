"""Comparison with a baseline: differences beyond noise, and noise."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from provision.errors import SourceError
from provision.validate.baseline import MetricChange, compare, describe_unjudged, load
from provision.validate.documents import ValidationReport
from tests.unit.validate.reports import check, report, row

NAME, TITLE = "load::collectives", "Collectives"


def build_report(*repeats: float, subject: str = "all_reduce nccl") -> ValidationReport:
    value = sorted(repeats)[len(repeats) // 2]
    return report(check(NAME, TITLE, row(subject, value, repeats=list(repeats))))


def get_only(changes: list[MetricChange]) -> MetricChange:
    (change,) = changes
    return change


def test_decrease_beyond_the_noise_is_worse() -> None:
    before = build_report(3.00e9, 3.01e9, 2.99e9, 3.02e9, 2.98e9)
    change = get_only(compare([before], build_report(2.90e9, 2.91e9, 2.89e9, 2.90e9, 2.92e9)))
    assert change.direction == "worse"
    assert change.line == ("Collectives, all_reduce nccl: 3 GB/s -> 2.9 GB/s (-3.3%, noise 0.7%)")


def test_decrease_within_the_noise_is_the_same() -> None:
    before = build_report(3.00e9, 3.20e9, 2.80e9, 3.10e9, 2.90e9)
    now = build_report(2.90e9, 3.05e9, 2.70e9, 2.95e9, 2.80e9)
    assert get_only(compare([before], now)).direction == "same"


def test_increase_beyond_the_noise_is_better() -> None:
    change = get_only(
        compare([build_report(1e9, 1.01e9, 0.99e9)], build_report(3e9, 3.01e9, 2.99e9))
    )
    assert change.direction == "better"


def test_several_baselines_widen_the_noise() -> None:
    runs = [build_report(value, value * 1.001, value * 0.999) for value in (3.0e9, 2.8e9, 3.1e9)]
    now = build_report(2.75e9, 2.751e9, 2.749e9)
    assert get_only(compare(runs[:1], now)).direction == "worse"
    assert get_only(compare(runs, now)).direction == "same"


def remove_repeats(value: float) -> ValidationReport:
    """Return a report without repeats, as older versions wrote it."""
    return report(check("load::gemm", "Matrix products", row("0000:04:00.0 float16", value)))


def test_without_repeats_nothing_is_worse() -> None:
    for before, now in (
        (remove_repeats(3e9), remove_repeats(2e9)),
        (build_report(3e9), build_report(2e9)),
    ):
        changes = compare([before], now)
        assert (get_only(changes).direction, get_only(changes).noise) == ("same", None)
        assert get_only(changes).line.endswith("(-33.3%, noise not known)")
        assert describe_unjudged(changes).startswith("of 1 values neither report has single runs")
    assert describe_unjudged(compare([build_report(3e9, 3e9)], build_report(2e9, 2e9))) == ""


def test_several_baselines_without_repeats_define_the_noise() -> None:
    runs = [remove_repeats(value) for value in (3.0e9, 2.99e9, 3.01e9)]
    assert get_only(compare(runs, remove_repeats(2.98e9))).direction == "same"
    assert get_only(compare(runs, remove_repeats(2.5e9))).direction == "worse"


def test_baseline_without_repeats_uses_the_noise_of_the_current_run() -> None:
    now = build_report(2.90e9, 2.91e9, 2.89e9, 2.90e9, 2.92e9)
    old = report(check(NAME, TITLE, row("all_reduce nccl", 2.93e9)))
    assert get_only(compare([old], now)).direction == "same"
    old = report(check(NAME, TITLE, row("all_reduce nccl", 3.2e9)))
    assert get_only(compare([old], now)).direction == "worse"


@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("spread", [0.002, 0.05, 0.3])
def test_equal_rigs_are_rarely_worse(spread: float, runs: int) -> None:
    """Of 1000 comparisons of draws from one distribution, whatever its spread."""
    draw = random.Random(5)

    def run() -> ValidationReport:
        return build_report(*(draw.gauss(3e9, 3e9 * spread) for _ in range(runs)))

    called = [get_only(compare([run()], run())).direction for _ in range(1000)]
    assert called.count("worse") <= 10
    assert called.count("better") <= 10


@pytest.mark.parametrize("spread", [0.002, 0.02])
def test_decrease_of_ten_times_the_spread_is_always_worse(spread: float) -> None:
    draw = random.Random(5)
    for _ in range(200):
        before = build_report(*(draw.gauss(3e9, 3e9 * spread) for _ in range(5)))
        now = build_report(*(draw.gauss(3e9 * (1 - 10 * spread), 3e9 * spread) for _ in range(5)))
        assert get_only(compare([before], now)).direction == "worse"


def test_check_that_no_longer_passes_is_worse() -> None:
    before = report(check("links::width", "PCIe path width"))
    now = report(check("links::width", "PCIe path width", status="critical"))
    assert get_only(compare([before], now)).line == "PCIe path width, status: ok -> critical"
    assert get_only(compare([now], before)).direction == "better"


def test_removed_and_new_subjects_are_listed() -> None:
    before = build_report(3e9, subject="0000:04:00.0")
    now = build_report(3e9, subject="0000:06:00.0")
    assert [change.direction for change in compare([before], now)] == ["gone", "new"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a report"),
        ('{"format": "x"}', "is not a report"),
        (json.dumps({"format": "deeprig-validation", "version": 7}), "version 7"),
    ],
)
def test_file_that_is_not_a_report_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "before.json"
    file.write_text(content)
    with pytest.raises(SourceError, match=words):
        load(file)


def test_missing_baseline_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nothing\.json: No such file"):
        load(tmp_path / "nothing.json")
