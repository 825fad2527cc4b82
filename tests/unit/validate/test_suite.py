"""The suite itself: its rows, its derived limits, and a run without a rig."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fabric import Config

from agent.bench import plan as plans
from agent.readings.rates import COPY_SHARE
from provision.bench import command
from provision.errors import DeeprigError, UnreachableError
from provision.validate.suite import SuiteOptions, SuiteRun
from tests.rig import expectation, load, subject
from tests.rig.expectation import Shares
from tests.rig.expectation import Threshold as Expected
from tests.rig.proof import Proof, Row, row, worst

SUITE = Path(__file__).parents[2] / "rig"


def test_proof_fails_with_every_critical_row_and_keeps_all_rows() -> None:
    proof = Proof()
    with pytest.raises(AssertionError) as raised:
        proof([row("a", 1, 2, False, "Do."), row("b", 1, 1, True), row("c", 1, 2, False)])
    assert str(raised.value) == "a: 1, expected 2. Do.\nc: 1, expected 2"
    assert [proof_row.status for proof_row in proof.rows] == ["critical", "ok", "critical"]
    proof([row("d", 1, 2, False, otherwise="warning")])
    assert worst(proof.rows[-1:]) == "warning"
    assert worst([]) == "unknown", "what proved nothing is not ok"


def test_row_document_omits_missing_values() -> None:
    assert Row("rig", "3", "3").document() == {
        "subject": "rig",
        "reading": "3",
        "expectation": "3",
        "status": "ok",
    }


def test_unit_timeout_is_longer_than_the_benchmarks_of_a_large_rig() -> None:
    unit = (SUITE.parents[1] / "playbooks/templates/deeprig-validation.service.j2").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("TimeoutStartSec=")]
    assert load.deadline("quick", 8) > load.deadline("quick", 2) > load.deadline("quick", 0)
    assert load.deadline("quick", 19) < int(line.partition("=")[2]) / 1.5, "and time for the rest"
    program = (SUITE.parents[1] / "playbooks/templates/deeprig-bench.j2").read_text()
    (most,) = re.findall(r"RuntimeMaxSec=(\d+)", program)
    assert load.deadline("full", 19) < int(most), "its own deadline tells more"


@pytest.mark.parametrize("plan", ["quick", "full"])
def test_slow_links_stay_within_the_deadline(plan: str) -> None:
    """Three GPUs at x1 of PCIe 1: the copies take less than a third of the deadline."""
    gpus = 3
    parts = json.loads(plans.TABLE.read_text())["nccl"][plan]["parts"]
    copies = {
        "transfers": 4 * gpus,
        "peer": gpus * (gpus - 1),
    }  # twice in each repeat, one warms up
    moved = sum(
        number * 2 * (parts[part]["repeats"] + 1) * plans.parse_size(parts[part]["size_bytes"])
        for part, number in copies.items()
    )
    assert 3 * moved / (COPY_SHARE * 0.25e9) < load.deadline(plan, gpus)
    assert load.PATIENCE[plan] >= 60, "PyTorch comes from a slow disk into 4 GB of RAM"


@pytest.mark.parametrize("silence", [subject.SILENCE, command.SILENCE])
def test_pairs_of_many_gpus_stay_within_the_silence_limit(silence: float) -> None:
    """Pairs are reported after the last one: 19 GPUs at x1 of PCIe 2."""
    options = json.loads(plans.TABLE.read_text())["nccl"]["full"]["parts"]["pairs"]
    messages = 19 * 18 * (options["warm_up"] + options["repeats"])
    assert messages * plans.parse_size(options["max_bytes"]) / (COPY_SHARE * 0.5e9) < silence


def test_out_of_memory_kill_does_not_end_the_launcher() -> None:
    """With systemd's default (OOMPolicy=stop) no process would be left to report what happened."""
    program = (SUITE.parents[1] / "playbooks/templates/deeprig-bench.j2").read_text()
    assert "--property=OOMPolicy=continue" in program


SHARES = Shares(0.7, 0.4)  # agent/tables/thresholds.yml


def path(width: int, gts: float, address: str = "0000:04:00.0") -> dict[str, Any]:
    return {"address": address, "width": width, "max_speed": gts * 1e9, "devices": [address]}


def expect_of_paths(*paths: dict[str, Any]) -> Expected | None:
    devices = [{**path, "current_width": path["width"], "vendor_id": "10de"} for path in paths]
    return expectation.collective(paths, devices, SHARES)


def test_copy_expectation_is_a_share_of_the_link() -> None:
    wanted = expectation.copy(path(1, 5), SHARES)
    assert wanted is not None
    # Gen2 x1: 0.5 GB/s after encoding, and a copy reaches 85 % of it.
    assert wanted.expected == pytest.approx(0.425e9)
    assert wanted.minimum == pytest.approx(0.2975e9)
    assert "x1 at 5 GT/s carries 0.50 GB/s" in wanted.reason
    assert expectation.copy({"width": None, "max_speed": None}, SHARES) is None


def test_collective_expectation_is_the_slowest_link() -> None:
    wanted = expect_of_paths(path(4, 8), path(1, 8, "0000:08:00.0"), path(16, 16, "0000:0a:00.0"))
    assert wanted is not None
    assert wanted.expected == 0.75e9
    assert wanted.reason == (
        "NCCL counts x1 at 8 GT/s (0000:08:00.0, the slowest) for 0.75 GB/s; "
        "at least 70% of that, less than 40% is critical"
    )
    assert expect_of_paths(path(4, 8), {**path(4, 8, "0000:08:00.0"), "width": None}) is None
    assert expect_of_paths() is None


def test_shared_link_is_divided_among_its_gpus() -> None:
    above = {"address": "0000:02:00.0", "current_width": 4, "max_speed": 8e9, "vendor_id": "1022"}
    paths = [
        {**path(4, 8, name), "devices": [above["address"]]}
        for name in ("0000:04:00.0", "0000:05:00.0", "0000:06:00.0")
    ]
    wanted = expectation.collective(paths, [above], SHARES)
    assert wanted is not None
    assert wanted.expected == 1e9
    assert "x4 at 8 GT/s (0000:02:00.0, shared by 3 GPUs, the slowest)" in wanted.reason


def test_thresholds_of_the_inventory_override_those_of_the_agent() -> None:
    assert expectation.read_shares({}) == SHARES
    expected = {"thresholds": {"bus_bandwidth_warning": 0.5}}
    assert expectation.read_shares(expected) == Shares(0.5, 0.4)


@pytest.mark.parametrize(
    ("rate", "status"),
    [(0.525e9, "ok"), (0.52e9, "warning"), (0.3e9, "warning"), (0.29e9, "critical")],
)
def test_rate_is_judged_as_by_the_agent(rate: float, status: str) -> None:
    wanted = expect_of_paths(path(1, 8))
    assert wanted is not None
    assert wanted.status(rate) == status


@pytest.mark.parametrize("file", sorted(SUITE.glob("test_*.py")), ids=lambda file: file.stem)
def test_every_check_has_a_title_and_a_reason(file: Path) -> None:
    """The report shows the docstring: a title, and one sentence of reason."""
    functions = [
        node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    for function in functions:
        title, _, why = (ast.get_docstring(function) or "").partition("\n")
        assert title.endswith("."), function.name
        assert len(title) <= 40, function.name
        assert why.strip().endswith("."), function.name


def test_unreachable_rig_is_reported_once(tmp_path: Path) -> None:
    inventory = tmp_path / "rigs.yml"
    inventory.write_text(
        "rigs: {hosts: {gone: {ansible_host: 127.0.0.1, ansible_port: 1, ansible_user: x}}}"
    )
    run = SuiteRun(
        "gone", SuiteOptions(quick=True, inventory=str(inventory)), Config(), tmp_path / "out"
    )
    events: list[str] = []
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
        run.run(lambda event: events.append(event["event"]))
    assert "end" not in events


def test_unknown_host_is_an_error(tmp_path: Path) -> None:
    inventory = tmp_path / "rigs.yml"
    inventory.write_text("rigs: {hosts: {}}")
    run = SuiteRun("no*body", SuiteOptions(inventory=str(inventory)), Config(), tmp_path / "out")
    with pytest.raises(DeeprigError, match="did not finish"):
        run.run(lambda event: None)
