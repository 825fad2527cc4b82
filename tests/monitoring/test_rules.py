"""Rules: Prometheus accepts them, each is tested, and each name in them exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.names import (
    AGENT,
    METRIC,
    MONITORING,
    RULE_FILES,
    metrics,
    records,
    rules,
    unknown_names,
)
from tests.monitoring.tools import tool

TEST_FILES = sorted((MONITORING / "tests").glob("*.test.yml"))
TESTS = [case for path in TEST_FILES for case in yaml.safe_load(path.read_text())["tests"]]
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in rules() if "record" in rule}
CHECKS = yaml.safe_load((AGENT / "tables" / "checks.yml").read_text())
XIDS = yaml.safe_load((AGENT / "tables" / "xids.yml").read_text())


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_promtool_accepts_the_rules() -> None:
    result = run("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_promtool_rule_tests_pass(path: Path) -> None:
    result = run("test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_rule_tests_fail_for_a_changed_threshold(tmp_path: Path) -> None:
    """promtool's tests can fail: they do if a rule differs."""
    for path in RULE_FILES:
        text = path.read_text().replace("deeprig_gpu_up == 0", "deeprig_gpu_up == 2")
        (tmp_path / path.name).write_text(text)
    test = (MONITORING / "tests" / "gpu.test.yml").read_text().replace("../rules/", "")
    (tmp_path / "gpu.test.yml").write_text(test)
    result = run("test", "rules", tmp_path / "gpu.test.yml")
    assert result.returncode != 0
    assert "DeeprigGpuNotAnswering" in result.stdout + result.stderr


def cases(alert: str) -> list[tuple[bool, set[str]]]:
    """Yield (whether it fires, the available metrics) of each tested moment of an alert."""
    return [
        (
            bool(moment.get("exp_alerts")),
            {name for series in test["input_series"] for name in series_names(series["series"])},
        )
        for test in TESTS
        for moment in test.get("alert_rule_test", [])
        if moment["alertname"] == alert
    ]


def series_names(text: str) -> list[str]:
    return re.findall(r"^[\w:]+", text)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tested_firing_and_not_firing(alert: str) -> None:
    """In the second case, the metrics that could make it fire exist."""
    wanted = set(METRIC.findall(ALERTS[alert]["expr"])) or {"up"}
    seen = [(fires, names) for fires, names in cases(alert) if wanted & names]
    assert {fires for fires, _ in seen} == {True, False}


@pytest.mark.parametrize("record", RECORDS)
def test_every_recording_rule_is_tested(record: str) -> None:
    expressions = [m["expr"] for test in TESTS for m in test.get("promql_expr_test", [])]
    assert any(re.match(rf"{record}(\{{|$)", text) for text in expressions)


@pytest.mark.parametrize(
    "rule", [*ALERTS.values(), *RECORDS.values()], ids=lambda rule: rule["expr"]
)
def test_rules_use_only_existing_metric_names(rule: dict[str, Any]) -> None:
    texts = [rule["expr"], *rule.get("annotations", {}).values()]
    assert set().union(*map(unknown_names, texts)) == set()


def test_rule_tests_use_only_metrics_of_the_agent() -> None:
    fed = {n for test in TESTS for s in test["input_series"] for n in series_names(s["series"])}
    assert fed - metrics() == {"up"}


@pytest.mark.parametrize("alert", ALERTS)
def test_alert_has_severity_summary_and_advice(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"Deeprig([A-Z][a-z]+)+", alert)
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["labels"]) <= {"severity", "check", "subject"}
    assert ("check" in rule["labels"]) == ("subject" in rule["labels"])
    assert rule["labels"].get("check", "driver") in CHECKS
    assert set(rule["annotations"]) == {"summary", "description", "advice"}
    if alert != "DeeprigAgentAbsent":
        assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    assert rule["annotations"]["description"].endswith(".")
    assert rule["annotations"]["advice"].endswith((".", "?"))


def test_names_are_unique() -> None:
    named = [rule.get("alert") or rule["record"] for rule in rules()]
    assert len(named) == len(set(named))
    groups = {(rule["file"], rule["group"]) for rule in rules()}
    assert len({group for _, group in groups}) == len(groups)


@pytest.mark.parametrize("record", sorted(records()))
def test_records_are_named_by_level_metric_and_operations(record: str) -> None:
    assert re.fullmatch(r"[a-z_]+:deeprig_[a-z0-9_]+:[a-z0-9_]+", record)


@pytest.mark.parametrize(
    ("alert", "matcher", "statuses"),
    [("DeeprigXidCritical", "=~", {"critical"}), ("DeeprigXidWarning", "!~", {"ok", "critical"})],
)
def test_xids_of_the_alerts_match_the_xid_table(
    alert: str, matcher: str, statuses: set[str]
) -> None:
    """A number that is not in the table is a warning, like the table's default."""
    expected = {str(number) for number, row in XIDS.items() if row["status"] in statuses}
    listed = re.findall(rf'xid{matcher}"([\d|]+)"', ALERTS[alert]["expr"])
    assert len(listed) == 2
    for numbers in listed:
        assert set(numbers.split("|")) == expected
    assert XIDS["default"]["status"] == "warning"
