"""The benchmarks: copies, collectives and parallel workloads, their values and their speed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from tests.rig import expectation
from tests.rig.expectation import Threshold
from tests.rig.load import Load
from tests.rig.proof import Proof, Row, Status, row
from tests.rig.subject import Subject

KINDS = {"hang": "hangs", "died": "died", "wrong_values": "wrong values", "unusable": "can't run"}
VALUES = (
    "Do not train on this rig: switch P2P off for all programs (nccl_parameters: "
    "{NCCL_P2P_DISABLE: 1} in the inventory, fab provision --tags nccl), and run again."
)
APART = "See what else used the GPUs, and run again: one of the two was disturbed."
SLOW = "Width, speed and errors of the slowest link first; then what else used the GPUs."


def test_benchmarks_run(load: Load, prove: Proof) -> None:
    """Benchmarks run to their end.
    A collective that hangs is a verdict, not a matter of patience.
    """
    if load.yielded:
        pytest.skip("a job uses the GPUs: it goes first")
    if load.document is None:
        prove([row("rig", load.problem, "a result", False)])
        return
    rows = [
        Row(
            problem["part"],
            f"{KINDS.get(problem['kind'], problem['kind'])}: {problem['message']}",
            "runs to its end",
            "critical",
            problem.get("advice", ""),
        )
        for problem in load.document["problems"]
        if problem["kind"] != "wrong_values"
    ]
    with_problems = {problem["part"] for problem in load.document["problems"]}
    rows += [
        Row(
            part["part"],
            part["status"] + (f": {part['reason']}" if part["reason"] else ""),
            "runs",
            "ok" if part["status"] in ("ok", "skipped") else "critical",
        )
        for part in load.document["parts"]
        if part["part"] not in with_problems
    ]
    prove(rows)


def test_transfers(ran: Load, subject: Subject, agent: Mapping[str, Any], prove: Proof) -> None:
    """Copies between host and GPU.
    Data, checkpoints and everything that NCCL moves through host memory take this way.
    """
    assert ran.document is not None
    if not ran.document["transfers"]:
        pytest.skip(str(ran.part("transfers").get("reason") or "no GPU that PyTorch can use"))
    paths = _read_paths(agent)
    shares = expectation.read_shares(subject.expected)
    rows: list[Row] = []
    for transfer in ran.document["transfers"]:
        wanted = (
            expectation.copy(paths.get(transfer["gpu"], {}), shares) if transfer["pinned"] else None
        )
        name = f"{transfer['gpu']} {transfer['direction'].replace('_', ' ')}"
        name += "" if transfer["pinned"] else ", pageable"
        rows += _build_rows(name, transfer, "bandwidth_bytes_per_second", wanted)
    prove(rows)


def test_peer(ran: Load, prove: Proof) -> None:
    """Copies between GPUs.
    Wrong data between two cards trains a wrong model, without any error.
    """
    assert ran.document is not None
    if not ran.document["peer"]:
        pytest.skip(str(ran.part("peer").get("reason") or "needs two GPUs that PyTorch can use"))
    rows: list[Row] = []
    for pair in ran.document["peer"]:
        name = f"{pair['from']} to {pair['to']}"
        name += ", direct" if pair["access"] else ", through the host"
        rows += _build_rows(name, pair, "bandwidth_bytes_per_second", None)
    prove(rows)


def test_collectives(ran: Load, subject: Subject, agent: Mapping[str, Any], prove: Proof) -> None:
    """Collectives.
    Their bandwidth bounds every step of data, tensor and expert parallel work.
    """
    assert ran.document is not None
    if not ran.document["collectives"]:
        pytest.skip(str(ran.part("collectives").get("reason") or "not in this plan"))
    paths = _read_paths(agent)
    own_paths = [paths[gpu] for gpu in ran.document["gpus"] if gpu in paths]
    wanted = None
    if ran.on_gpus and len(own_paths) == ran.document["ranks"]:
        shares = expectation.read_shares(subject.expected)
        wanted = expectation.collective(own_paths, agent["pcie"]["devices"], shares)
    rows: list[Row] = []
    for entry in ran.document["collectives"]:
        sizes = sorted(entry["sizes"], key=lambda size: size["size_bytes"])
        wrong = sum(size["wrong_values"] for size in sizes)
        name = f"{entry['collective']} {ran.document['backend']}"
        largest = {**sizes[-1], "wrong_values": wrong}
        rows += _build_rows(name, largest, "bus_bandwidth_bytes_per_second", wanted)
    prove(rows)


def test_hazards(ran: Load, prove: Proof) -> None:
    """NCCL's transports.
    P2P between mining cards may give wrong values, or hang; it is used only where it proved right.
    """
    assert ran.document is not None
    if not ran.document["hazards"]:
        pytest.skip(str(ran.part("hazards").get("reason") or "not in this plan"))
    prove(
        row(
            trial["hazard"],
            f"{trial['status']}, {trial['wrong_values'] or 0} wrong values, "
            f"by {', '.join(sorted(set(trial['transports'].values()))) or 'unknown transports'}",
            "right values",
            trial["status"] == "ok" and not trial["wrong_values"],
            trial["advice"],
            "critical" if trial["hazard"] == "default" else "warning",
        )
        for trial in ran.document["hazards"]
    )


def test_tools(ran: Load, prove: Proof) -> None:
    """NVIDIA's own benchmarks.
    Where nccl-tests and nvbandwidth are installed, they must find what we find.
    """
    assert ran.document is not None
    if not ran.document["tools"]:
        pytest.skip(str(ran.part("tools").get("reason") or "not in this plan"))
    rows = []
    for tool in ran.document["tools"]:
        expected = "right values, and about our own speed"
        if tool.get("wrong_values"):
            reading = f"{tool['wrong_values']} wrong values"
            rows.append(Row(tool["tool"], reading, expected, "critical", VALUES))
        elif tool["agrees"] is None:
            rows.append(Row(tool["tool"], tool["reason"] or "not compared", expected, "unknown"))
        else:
            reading = "agrees" if tool["agrees"] else f"differs: {tool['reason']}"
            rows.append(row(tool["tool"], reading, expected, tool["agrees"], APART, "warning"))
    prove(rows)


def test_workloads(ran: Load, prove: Proof) -> None:
    """Parallel workloads.
    DDP, FSDP, pipeline, tensor and expert parallel steps, against the same model on one device.
    """
    assert ran.document is not None
    if not ran.document["workloads"]:
        pytest.skip("not in the quick plan")
    prove(
        Row(
            workload["workload"],
            f"{workload['step_seconds'] * 1e3:.1f} ms a step, "
            f"error {workload['check']['largest_error']:.2g}",
            f"error below {workload['check']['tolerance']:.2g}",
            "ok" if workload["check"]["right"] else "critical",
            "" if workload["check"]["right"] else VALUES,
            value=1 / workload["step_seconds"],
            unit="steps/s",
            repeats=tuple(1 / seconds for seconds in workload["steps"] if seconds),
        )
        for workload in ran.document["workloads"]
    )


def test_gemm(ran: Load, prove: Proof) -> None:
    """Matrix products.
    What each GPU computes; all others wait for the slowest.
    """
    assert ran.document is not None
    if not ran.document["gemm"]:
        pytest.skip(str(ran.part("gemm").get("reason") or "not in this plan"))
    rows = []
    for result in ran.document["gemm"]:
        right = not result["wrong_values"]
        rows.append(
            Row(
                f"{result['gpu'] or 'rank ' + str(result['rank'])} {result['dtype']}",
                f"{result['flops_per_second'] / 1e12:.3g} TFLOPS, "
                f"{result['wrong_values'] or 0} wrong values",
                "right values",
                "ok" if right else "critical",
                "" if right else VALUES,
                value=result["flops_per_second"],
                unit="FLOPS",
                repeats=tuple(_rates(result, result["flops_per_second"])),
            )
        )
    prove(rows)


def _read_paths(agent: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {path["address"]: path for path in agent["pcie"]["paths"]}


def _build_rows(
    name: str, measurement: Mapping[str, Any], key: str, wanted: Threshold | None
) -> Iterator[Row]:
    """Yield a row of speed and values. Without a derived threshold, any speed is ok."""
    value, wrong = float(measurement[key]), measurement.get("wrong_values") or 0
    status: Status = "ok"
    advice, expected = "", "right values"
    if wanted is not None:
        expected = f"{wanted.minimum / 1e9:.2f} GB/s: {wanted.reason}"
        status = wanted.status(value)
        advice = "" if status == "ok" else SLOW
    if wrong:
        status, advice = "critical", VALUES
    reading = f"{value / 1e9:.3g} GB/s" + (f", {wrong} wrong values" if wrong else "")
    yield Row(
        name,
        reading,
        expected,
        status,
        advice,
        value=value,
        minimum=wanted.minimum if wanted else None,
        unit="B/s",
        repeats=tuple(_rates(measurement, value)),
    )


def _rates(measurement: Mapping[str, Any], value: float) -> Iterable[float]:
    """Return the rate of each repeat from its time and the median; none for older documents."""
    times, median = measurement.get("times") or [], measurement.get("time_seconds")
    return (value * median / time for time in times if time) if median else ()
