"""Rules and dashboards with a real Prometheus that scrapes a healthy and a faulty rig."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.monitoring.fake_rig import FakeRig, serve
from tests.monitoring.names import records, table
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.monitoring.queries import Query, queries

JOB = "deeprig"
WINDOW = "1m"  # of rates: many times the interval of scrapes
# What the ill rig must be noticed for (pending counts: `for` is minutes). The others of our alerts
# need another kind of illness, and have their cases in agent/monitoring/tests.
NOTICED = {
    "DeeprigDriverNotHeld",
    "DeeprigNextBootWithoutDriver",
    "DeeprigPackagesUnfinished",
    "DeeprigVerdictCritical",
    "DeeprigVerdictWarning",
    "DeeprigGpusMissing",
    "DeeprigXidCritical",
    "DeeprigGpuTemperatureHigh",
    "DeeprigGpuThrottledByHeat",
    "DeeprigGpuPowerBrake",
    "DeeprigGpuMemoryFull",
    "DeeprigPcieWidthBelowExpected",
    "DeeprigPcieSpeedBelowExpected",
    "DeeprigPcieLinkFlapping",
    "DeeprigPcieCorrectedErrors",
    "DeeprigPcieUncorrectedErrors",
    "DeeprigPcieReplays",
    "DeeprigNcclBandwidthLow",
    "DeeprigNcclWrongValues",
    "DeeprigValidationCritical",
    "DeeprigDiskFilling",
    "DeeprigDiskSpaceLow",
    "DeeprigHostMemoryLow",
    "DeeprigSwapInUse",
    "DeeprigCpuThrottled",
    "DeeprigKernelHazard",
    "DeeprigRebootRequired",
}


@dataclass(frozen=True)
class MonitoredInstances:
    """A Prometheus and the instances that it scrapes."""

    server: Prometheus
    well: str
    ill: str

    def instance(self, name: str) -> str:
        return {"well": self.well, "ill": self.ill}[name]


def eventually(holds: Callable[[], object], seconds: float = 10) -> bool:
    """Retry a condition: on a busy machine a scrape or an evaluation may be late."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredInstances]:
    well, ill = (f"127.0.0.1:{serve(0, ill=ill)}" for ill in (False, True))
    with prometheus(tmp_path_factory.mktemp("prometheus"), {JOB: [well, ill]}) as server:
        yield MonitoredInstances(server, well, ill)


@pytest.mark.parametrize("ill", [False, True], ids=["well", "ill"])
def test_fake_rig_exports_every_metric(ill: bool) -> None:
    assert set(FakeRig(ill=ill).values()) == {
        row["name"] for rows in table().values() for row in rows
    }


def test_rules_are_evaluated_without_errors(monitored: MonitoredInstances) -> None:
    wrong = {r["name"]: r["lastError"] for r in monitored.server.rules() if r["health"] != "ok"}
    assert wrong == {}


@pytest.mark.parametrize("record", sorted(records()))
def test_every_recording_rule_returns_series(monitored: MonitoredInstances, record: str) -> None:
    # Only a riser board with its own switch has a fourth and fifth step.
    if not record.endswith((":step4", ":step5")):
        assert eventually(lambda: monitored.server.query(record))


def alerts(monitored: MonitoredInstances, instance: str) -> list[dict[str, dict[str, str]]]:
    """Return all alerts of an instance, also pending ones."""
    every_alert: list[dict[str, dict[str, str]]] = monitored.server.api("alerts")["alerts"]
    return [alert for alert in every_alert if alert["labels"].get("instance") == instance]


def test_healthy_rig_fires_no_alert(monitored: MonitoredInstances) -> None:
    """One GPU idles at 2.5 GT/s, another is at its power limit."""
    eventually(lambda: not alerts(monitored, monitored.well))
    assert [alert["labels"] for alert in alerts(monitored, monitored.well)] == []


def test_faulty_rig_fires_the_expected_alerts(monitored: MonitoredInstances) -> None:

    def is_noticed() -> set[str]:
        return {alert["labels"]["alertname"] for alert in alerts(monitored, monitored.ill)}

    eventually(lambda: is_noticed() == NOTICED)
    assert is_noticed() == NOTICED


def test_templates_of_alert_texts_are_rendered(monitored: MonitoredInstances) -> None:
    texts = [
        text for alert in alerts(monitored, monitored.ill) for text in alert["annotations"].values()
    ]
    assert [
        text for text in texts if "<error" in text or "<no value>" in text or "{{" in text
    ] == []
    assert any("GPUs below it: 0000:08:00.0." in text for text in texts)


@pytest.mark.parametrize("name", ["well", "ill"])
@pytest.mark.parametrize("number", range(len(list(queries(JOB, "rig")))))
def test_every_dashboard_query_returns_data(
    monitored: MonitoredInstances, name: str, number: int
) -> None:
    query: Query = list(queries(JOB, monitored.instance(name), WINDOW))[number]
    data = eventually(lambda: monitored.server.query(query.expr))
    assert data, f"{query} gives nothing:\n{query.expr}"
