"""`fab validate` of a healthy rig: its report, and what it leaves on the rig."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.lab.operator import ROOT, wait_until
from tests.lab.validation.conftest import NAME, Proof, Proven

#: Checks that a CPU build of PyTorch cannot run, and checks that depend on this machine.
UNTRIED = {
    "software::driver_speaks_cuda",
    "links::speed_under_load",
    "load::transfers",
    "load::peer",
    "load::hazards",
    "load::tools",
}
OF_THE_MACHINE = {"demined::listening_ports", "host::memory", "host::time", "host::disk"}


@pytest.fixture(scope="module")
def quick_plan(proven: Proven) -> Proof:
    return proven.validate("--quick")


@pytest.fixture(scope="module")
def full_plan(proven: Proven) -> Proof:
    return proven.validate()


def test_healthy_rig_passes_validation(quick_plan: Proof) -> None:
    assert quick_plan.result.status == 0, quick_plan.result.text
    statuses = {check["check"]: check["status"] for check in quick_plan.report["checks"]}
    held = {name: status for name, status in statuses.items() if name not in OF_THE_MACHINE}
    assert {name for name, status in held.items() if status == "unknown"} == UNTRIED
    bad = {name for name, status in held.items() if status in ("warning", "critical")}
    # The agent, too, warns about 4 GB of RAM for three GPUs.
    assert bad <= {"agent::verdicts"}, quick_plan.result.text


@pytest.mark.parametrize(
    "plan", ["quick_plan", pytest.param("full_plan", marks=pytest.mark.extended)]
)
def test_values_are_unique_by_check_and_subject(request: pytest.FixtureRequest, plan: str) -> None:
    """A baseline compares by check and subject, so no two values share both."""
    for check in request.getfixturevalue(plan).report["checks"]:
        subjects = [row["subject"] for row in check["rows"] if "value" in row]
        assert len(set(subjects)) == len(subjects), check


@pytest.mark.parametrize(
    "plan", ["quick_plan", pytest.param("full_plan", marks=pytest.mark.extended)]
)
def test_plan_ends_before_its_deadline(request: pytest.FixtureRequest, plan: str) -> None:
    """A run that reaches its deadline reports a problem; these runs have none."""
    assert request.getfixturevalue(plan).report["bench"]["problems"] == []


@pytest.mark.extended
def test_full_plan_runs_every_workload(full_plan: Proof) -> None:
    assert full_plan.result.status == 0, full_plan.result.text
    names = {row["subject"] for row in full_plan.check("load::workloads")["rows"]}
    assert names == {"ddp", "fsdp", "pipeline", "tensor", "moe", "decode"}
    (skipped,) = [p for p in full_plan.report["bench"]["parts"] if p["part"] == "three_d"]
    assert skipped["status"] == "skipped"
    assert "8 ranks" in skipped["reason"]


def test_collectives_are_checked_by_their_values(quick_plan: Proof) -> None:
    collectives = quick_plan.report["bench"]["collectives"]
    assert {entry["collective"] for entry in collectives} >= {
        "all_reduce",
        "all_gather",
        "reduce_scatter",
        "broadcast",
        "all_to_all",
        "sendrecv",
    }
    assert {size["wrong_values"] for entry in collectives for size in entry["sizes"]} == {0}


def test_reports_are_written_on_this_machine(quick_plan: Proof) -> None:
    suite = ElementTree.parse(quick_plan.folder / "junit.xml").getroot()
    cases = suite.findall(".//testcase")
    assert len(cases) == len(quick_plan.report["checks"])
    page = (quick_plan.folder / "report.html").read_text()
    assert page.count("<figure>") == len({"collectives", "gemm", "workloads"})
    for check in quick_plan.report["checks"]:
        assert check["title"].replace("'", "&#39;") in page


def test_results_are_stored_on_the_rig_and_exported_by_its_agent(
    proven: Proven, quick_plan: Proof
) -> None:
    stored = json.loads(proven.rig.run(f"cat {quick_plan.report['stored']}").stdout)
    assert stored["checks"] == quick_plan.report["checks"]
    url = f"http://{proven.rig.address}:10390"

    def read_rig_document() -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}/api/v1/rig", timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    wait_until(
        lambda: (
            (read_rig_document()["validation"] or {}).get("counts") == quick_plan.report["counts"]
        )
    )
    results = read_rig_document()["nccl"]["results"]
    assert {"all_reduce", "all_to_all"} <= {entry["collective"] for entry in results}
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    assert 'deeprig_validation_checks{status="critical"} 0.0' in metrics
    labels = ('collective="all_reduce"', 'backend="gloo"', 'ranks="3"')
    (line,) = [
        line
        for line in metrics.splitlines()
        if line.startswith("deeprig_nccl_wrong_values{") and all(label in line for label in labels)
    ]
    assert line.endswith(" 0.0")


def test_quick_plan_leaves_no_process_running(proven: Proven, quick_plan: Proof) -> None:
    assert proven.leftovers() == []


@pytest.mark.extended
def test_full_plan_leaves_no_process_running(proven: Proven, full_plan: Proof) -> None:
    assert proven.leftovers() == []


@pytest.mark.extended
def test_baseline_report_shows_what_got_worse(proven: Proven, quick_plan: Proof) -> None:
    """The baseline is of a rig that was ten times faster."""
    before = quick_plan.report
    for check in before["checks"]:
        for row in check["rows"]:
            if "value" in row:
                row["value"] *= 10
                row["repeats"] = [repeat * 10 for repeat in row.get("repeats", [])]
    file = proven.folder / "before.json"
    file.write_text(json.dumps(before))
    proof = proven.validate("--quick", "--baseline", str(file), "--select", "benchmarks or load")
    assert proof.result.status == 1
    proof.result.assert_shows("against the baseline")
    # Some collectives: the noise of a single one may be as wide as that on a busy machine.
    assert re.search(r"worse +Collectives, \w+ gloo: ", proof.result.text), proof.result.text
    assert "Against the baseline" in (proof.folder / "report.html").read_text()


def test_json_is_one_document(proven: Proven) -> None:
    proof = proven.validate("--json", "--select", "gpus")
    documents = json.loads(proof.result.stdout)
    assert list(documents) == [NAME]
    assert {check["check"].partition("::")[0] for check in documents[NAME]["checks"]} == {"gpus"}


def test_suite_runs_with_plain_pytest(proven: Proven) -> None:
    report = proven.folder / "alone"
    words = ["--hosts", NAME, "--inventory", str(proven.inventory), "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/rig", *words, "-k", "gpus", "-q"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert json.loads((report / "report.json").read_text())["host"] == NAME


def test_suite_runs_on_the_rig_itself(proven: Proven) -> None:
    done = proven.rig.run("/opt/deeprig/bin/deeprig-validate --quick -q -k 'gpus or software'")
    assert "failed" not in done.stdout
    assert "passed" in done.stdout
