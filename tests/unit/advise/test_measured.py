"""Which results of a benchmark's document are used."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from provision.advise import rig_measurements
from provision.boundary.messages import BatchNews, UnitResult, WorkUnit
from provision.errors import DeeprigError
from provision.performance import machine, measured
from provision.ssh.rig_sessions import Sessions
from tests.unit.advise import rigs


def document(**changes: Any) -> dict[str, Any]:
    sizes = [
        {"size_bytes": size, "time_seconds": 40e-6 + 4 / 3 * size / 0.3e9, "wrong_values": 0}
        for size in (8, 65536, 1 << 20, 1 << 26)
    ]
    made: dict[str, Any] = {
        "format": "deeprig-bench",
        "version": 1,
        "finished_at": 1.7e9,
        "backend": "nccl",
        "ranks": 3,
        "nccl": "2.29.7",
        "gpus": ["0000:04:00.0"] * 3,
        "collectives": [{"collective": "all_reduce", "ranks": 3, "sizes": sizes}],
        "pairs": [
            {
                "from": 0,
                "to": 1,
                "size_bytes": 1 << 26,
                "latency_seconds": 30e-6,
                "bandwidth_bytes_per_second": 0.2e9,
                "wrong_values": 0,
            }
        ],
        "gemm": [
            {"rank": rank, "dtype": dtype, "size": size, "flops_per_second": rate * 1e12}
            for rank, rate in ((0, 60.0), (1, 52.0), (2, 61.0))
            for dtype, size in (("float16", 8192), ("float16", 1024))
        ],
    }
    made.update(changes)
    return made


def parse_document(**changes: Any) -> measured.Measurements:
    return measured.parse(json.dumps(document(**changes)), "x.json")


def test_cost_is_fitted_to_collectives_and_the_slowest_gpu_counts() -> None:
    measurement = parse_document()
    assert measurement.network is not None
    cost = measurement.network.cost("all_reduce")
    assert cost.origin == "measured"
    assert cost.bandwidth == pytest.approx(0.3e9, rel=1e-3)
    assert cost.call == pytest.approx(40e-6, rel=1e-2)
    assert measurement.network.cost("all_gather") == cost  # the nearest that there is
    assert measurement.network.send(0, 1, 0.2e9) == pytest.approx(1.0, rel=1e-3)
    assert measurement.gemm == {"bf16": 52e12}
    assert measurement.notes == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "has version 2 of deeprig-bench; this deeprig reads 1"),
        ({"version": "1"}, "has version '1'"),
        ({"format": "deeprig-collectives"}, "is not a document of deeprig-bench"),
        ({"collectives": [{"collective": "all_reduce"}]}, "is broken"),
        ({"ranks": "three"}, "is broken"),
    ],
)
def test_invalid_document_is_refused_with_advice(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeeprigError) as raised:
        parse_document(**changes)
    assert message in raised.value.message
    assert "again" in raised.value.advice


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"format": "deeprig-bench"}'])
def test_invalid_or_empty_json_is_refused(content: str) -> None:
    with pytest.raises(DeeprigError):
        measured.parse(content, "x.json")


@pytest.mark.parametrize(
    ("changes", "direct"),
    [
        ({}, True),
        ({"transports": {"0->1": "P2P/CUMEM", "1->2": "SHM/direct"}}, False),
        ({"wrong_values": 3}, False),
        ({"status": "hang", "wrong_values": None}, False),
        ({"hazard": "P2P off"}, False),
    ],
)
def test_use_of_p2p_is_read_from_the_trials(changes: dict[str, Any], direct: bool) -> None:
    hazard = {
        "hazard": "default",
        "status": "ok",
        "wrong_values": 0,
        "transports": {"0->1": "P2P/CUMEM", "1->2": "P2P/CUMEM"},
    }
    assert parse_document(hazards=[{**hazard, **changes}]).p2p == direct
    assert not parse_document().p2p
    rig = machine.with_measured(rigs.seed(), parse_document(hazards=[{**hazard, **changes}]))
    assert rig.p2p == direct


def test_gloo_results_are_not_used_for_links() -> None:
    measurement = parse_document(backend="gloo")
    assert measurement.network is None
    assert "gloo" in measurement.notes[0]


def test_results_with_wrong_values_are_not_used() -> None:
    bad = document()["collectives"]
    bad[0]["sizes"][2]["wrong_values"] = 1
    measurement = parse_document(collectives=bad)
    assert measurement.network is None
    assert "wrong values" in measurement.notes[0]


def test_gemm_results_of_a_cpu_are_not_used() -> None:
    assert parse_document(gpus=[]).gemm == {}


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeeprigError, match=r"can't read .*none\.json"):
        measured.load(tmp_path / "none.json")


class Rig:
    """Answers as the rig's modules do."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, list[Any]()

    def get(self, user: str) -> Rig:
        return self

    def run(self, units: list[WorkUnit], on_progress: Any) -> Iterator[BatchNews]:
        self.asked += units
        results = [UnitResult((1, 0), self.answers[unit["module"]], 0.1) for unit in units]
        yield BatchNews(results, None, is_done=True)


def read_newest(content: str, **more: Any) -> tuple[measured.Measurements | None, Rig]:
    files = [{"path": f"{measured.FOLDER}/{n}.json", "mtime": n} for n in (3.0, 9.0, 4.0)]
    slurped = {"content": base64.b64encode(content.encode()).decode(), **more}
    rig = Rig(find={"files": files}, slurp=slurped)
    return rig_measurements.read_newest(cast(Sessions, rig)), rig


def test_newest_document_of_the_rig_is_read() -> None:
    measurement, rig = read_newest(json.dumps(document()))
    assert rig.asked[-1]["args"]["src"] == f"{measured.FOLDER}/9.0.json"
    assert measurement is not None
    assert measurement.network is not None


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (json.dumps(document(version=3)), {}, "version 3"),
        ("", {"failed": True, "msg": "no right to read"}, "no right to read"),
    ],
)
def test_unusable_document_of_the_rig_is_noted(
    content: str, more: dict[str, Any], message: str
) -> None:
    measurement, _ = read_newest(content, **more)
    assert measurement is not None
    assert measurement.network is None
    assert message in measurement.notes[0]


def test_rig_without_benchmarks_has_no_measurement() -> None:
    assert rig_measurements.read_newest(cast(Sessions, Rig(find={"files": []}))) is None
