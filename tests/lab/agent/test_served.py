"""What the agent serves to dashboards, browsers and clients of the API."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import jsonschema
import pytest
import yaml
from playwright.sync_api import sync_playwright

from tests.lab.agent.conftest import UNIT, MonitoredRig
from tests.lab.agent.test_host import make_result, write_result_file
from tests.monitoring.queries import Query, queries
from tests.page.conftest import ARGUMENTS, Complaints, chromium
from tests.rig.summary import summary
from tests.unit.validate.reports import bench, check, report

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "agent/web/page"
CPUS = Path("/sys/devices/system/cpu")
CPU_FILES = {
    "deeprig_host_cpu_frequency_hertz": "cpu*/cpufreq/scaling_cur_freq",
    "deeprig_host_cpu_max_frequency_hertz": "cpu*/cpufreq/cpuinfo_max_freq",
    "deeprig_host_cpu_throttles_total": "cpu*/thermal_throttle/*_throttle_count",
}


@pytest.fixture(scope="module")
def with_results(monitored_rig: MonitoredRig) -> MonitoredRig:
    """The rig with GPUs, a benchmark's result and a validation's result."""
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    write_result_file(monitored_rig, "run.json", make_result(monitored_rig, 0.3e9))
    document = summary(report(check("load::transfers", "Copies"), bench=bench()))
    folder = "/var/lib/deeprig/validation"
    monitored_rig.rig.run(
        f"mkdir -p {folder} && cat > {folder}/summary.json <<'END'\n{json.dumps(document)}\nEND"
    )
    monitored_rig.until("deeprig_copy_bandwidth_bytes_per_second")
    # Also what the rules make of it, at their next turn.
    monitored_rig.until("collective:deeprig_nccl_bus_bandwidth:ratio")
    return monitored_rig


def test_every_dashboard_query_returns_data(with_results: MonitoredRig) -> None:
    """Every query returns data, except those that need a rig with faults."""
    instance = f"{with_results.rig.address}:10390"
    empty: list[Query] = []
    for query in queries("deeprig", instance, "10s"):
        try:
            if not with_results.server.query(query.expr):
                empty.append(query)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{query}: {error.read().decode()}")
    # What the kernel of the machine that runs the lab does not tell, it does not tell of the rig.
    lacking = [name for name, pattern in CPU_FILES.items() if not any(CPUS.glob(pattern))]
    left = [query for query in empty if not any(name in query.expr for name in lacking)]
    assert [str(query) for query in left] == []


def test_rules_are_evaluated_without_error(with_results: MonitoredRig) -> None:
    wrong = {
        rule["name"]: rule["lastError"]
        for rule in with_results.server.rules()
        if rule.get("lastError")
    }
    assert wrong == {}


def test_api_matches_its_openapi_description(with_results: MonitoredRig) -> None:
    description = yaml.safe_load((PAGE / "openapi.yaml").read_text())
    for path in ("/api/v1/rig", "/api/v1/history"):
        answer = description["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        whole = {**schema, "components": description["components"]}
        jsonschema.Draft202012Validator(whole).validate(with_results.get(path))


def test_status_page_shows_the_rig_without_browser_errors(with_results: MonitoredRig) -> None:
    """The page logs no error and sends no request to another site."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page()
        complaints = Complaints(with_results.url)
        complaints.watch(page)
        page.goto(with_results.url)
        document = with_results.get("/api/v1/rig")
        for text in (
            *(gpu["address"] for gpu in document["gpus"]),
            document["host"]["board"],
            "all_reduce",
        ):
            page.get_by_text(text).filter(visible=True).first.wait_for()
        browser.close()
    assert complaints.texts == []


def test_status_page_reports_an_unreachable_agent(with_results: MonitoredRig) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page()
        page.goto(with_results.url)
        page.get_by_text(with_results.get("/api/v1/rig")["host"]["board"]).first.wait_for()
        try:
            with_results.rig.run(f"systemctl stop {UNIT}")
            page.get_by_text("No data from the agent since").first.wait_for(timeout=20_000)
        finally:
            with_results.rig.run(f"systemctl start {UNIT}")
        browser.close()
    with_results.until("sum(deeprig_gpu_up) == 3")
