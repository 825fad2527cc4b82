"""The document of /api/v1/rig matches its OpenAPI description in every state of the rig."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from agent.nvml.gpu import PCIE_ERROR_FIELDS, THROTTLE_FIELDS
from agent.readings.nvml import DriverState
from agent.sampling.sampler import Sampler
from agent.web.allowed_hosts import AllowedHosts
from agent.web.app import AgentApp
from agent.web.limits import ClientLimits
from agent.web.web_config import WebConfigFile
from lab.simulate.simulated_rig import NVRM, VERSION, SimulatedRig
from tests.unit.agent.simulated import rigs
from tests.unit.agent.simulated.rigs import FIRST, SECOND, THIRD
from tests.unit.agent.test_openapi import SCHEMAS, example, validator
from tests.unit.agent.web.test_app import get

MakeSampler = Callable[..., Sampler]


@pytest.fixture
def make_sampler(rig: SimulatedRig) -> Iterator[MakeSampler]:
    """make_sampler(**settings): a sampler, closed with the test."""
    made: list[Sampler] = []

    def sampler(**settings: Any) -> Sampler:
        made.append(rigs.sampler(rig, **settings))
        return made[-1]

    yield sampler
    for started in made:
        started.close()


def read_valid_document(
    sampler: Sampler, name: str = "Rig", target: str = "/api/v1/rig"
) -> dict[str, Any]:
    """Return a sample's document after checking it against the description."""
    app = AgentApp(
        telemetry_path="/metrics",
        interval=5,
        web=WebConfigFile(None),
        history=sampler.history,
        catalogue=sampler.catalogue,
        hosts=AllowedHosts(),
        limits=ClientLimits(),
    )
    app.publish(sampler.take())
    answer = get(app, target, host="localhost")
    assert answer.status == 200, answer.body
    document: dict[str, Any] = json.loads(answer.body)
    errors = [
        f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(document)
    ]
    assert errors == []
    return document


def checks(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {
        (verdict["check"], verdict["subject"]): verdict["status"]
        for verdict in document["verdicts"]
    }


def test_document_of_a_healthy_rig_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    rigs.result(rig)
    document = read_valid_document(make_sampler())
    assert document["driver"]["state"] == "ok"
    assert [gpu["up"] for gpu in document["gpus"]] == [True] * 3
    assert [gpu["address"] for gpu in document["gpus"]] == list(rigs.GPUS)
    assert document["expectations"] == {
        "gpus": 3,
        "gpus_from": "inventory",
        "config_file": str(rig.folder / "agent.yml"),
    }
    (result,) = document["nccl"]["results"]
    assert (result["collective"], result["gpus"]) == ("all_reduce", list(rigs.GPUS))
    assert result["expected_bus_bandwidth"] > 0
    assert "0000:04:00.0" in result["expected_from"]


def test_document_under_load_with_throughput_is_valid(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    rig.set(load=True)
    sampler = make_sampler(pcie_throughput=True)
    document = read_valid_document(sampler)
    assert document["gpus"][0]["reading"]["pcie_throughput"]["receive"] > 0
    read_valid_document(sampler, "History", "/api/v1/history")


def test_document_with_a_lost_gpu_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    sampler = make_sampler()
    read_valid_document(sampler)
    rig.set(1, lost=1)
    document = read_valid_document(sampler)
    gpu = document["gpus"][1]
    assert (gpu["address"], gpu["up"], gpu["reading"], gpu["problem"]) == (
        SECOND,
        False,
        None,
        "lost",
    )
    assert gpu["uuid"], "the last known"
    assert gpu["read_at"] < document["sampled_at"]
    assert document["status"] == "critical"
    assert checks(document)["gpu-answers", SECOND] == "critical"


def test_document_with_a_gpu_lost_from_the_start_is_valid(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    rig.set(2, lost=1)
    gpu = read_valid_document(make_sampler())["gpus"][2]
    assert [gpu[key] for key in ("index", "uuid", "name", "reading", "read_at")] == [
        None,
        None,
        "",
        None,
        None,
    ]


def test_document_with_a_hung_gpu_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    rig.set(0, hang=1)
    document = read_valid_document(make_sampler(nvml_deadline=0.5))
    assert [gpu["problem"] for gpu in document["gpus"]] == ["hung", "", ""]
    assert document["driver"]["state"] == "ok"
    assert checks(document)["gpu-answers", FIRST] == "critical"


def test_document_with_all_gpus_hung_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    rig.set(hang=1)
    document = read_valid_document(make_sampler(nvml_deadline=0.5))
    assert document["driver"]["state"] == "unresponsive"
    assert {gpu["problem"] for gpu in document["gpus"]} == {"hung"}


def test_document_without_a_driver_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    rig.version_file.unlink()
    document = read_valid_document(make_sampler())
    assert (document["driver"]["state"], document["status"]) == ("missing", "critical")
    assert {gpu["problem"] for gpu in document["gpus"]} == {"driver"}


def test_document_with_a_version_mismatch_is_valid(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    rig.version_file.write_text(NVRM.replace(VERSION, "580.82.07"))
    document = read_valid_document(make_sampler())
    assert document["driver"]["state"] == "mismatch"
    assert checks(document)["driver", "rig"] == "critical"


def test_document_without_sysfs_and_procfs_is_valid(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    """Without GPUs, /proc and /sys every value is null."""
    document = read_valid_document(
        make_sampler(sysfs="/nowhere", procfs="/nowhere", rootfs="/nowhere")
    )
    assert (document["gpus"], document["host"]["memory_size_bytes"]) == ([], None)


def test_document_with_invalid_result_files_is_valid(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    rigs.result(rig, "gloo.json", backend="gloo", gpus=None, nccl_version=None)
    rigs.result(rig, "gone.json", ranks=2, gpus=["0000:04:00.0", "0000:99:00.0"])
    rigs.result(rig, "one.json", ranks=1, gpus=[FIRST])
    rigs.result(rig, "later.json", version=2)
    rigs.result(rig, "negative.json", ranks=-1)
    folder = rig.folder / "state/nccl"
    (folder / "half.json").write_text('{"format": "deeprig-coll')
    (folder / "binary.json").write_bytes(bytes(range(256)))
    (folder / "nan.json").write_text('{"format": "deeprig-collectives", "version": NaN}')
    (folder / "folder.json").mkdir()
    document = read_valid_document(make_sampler())
    by_ranks = {row["ranks"]: row for row in document["nccl"]["results"]}
    assert set(by_ranks) == {1, 2, 3}
    assert by_ranks[3]["backend"] == "gloo"
    assert by_ranks[3]["gpus"] == []
    assert {row["expected_bus_bandwidth"] for row in by_ranks.values()} == {None}
    ignored = {row["file"]: row["reason"] for row in document["nccl"]["ignored"]}
    assert set(ignored) == {
        "later.json",
        "negative.json",
        "half.json",
        "binary.json",
        "nan.json",
        "folder.json",
    }
    assert all(ignored.values())


def test_document_with_xids_is_valid(rig: SimulatedRig, make_sampler: MakeSampler) -> None:
    log = rig.folder / "kmsg"
    log.touch()
    sampler = make_sampler()
    read_valid_document(sampler)
    with log.open("a") as out:
        out.write("3,1,1,-;NVRM: Xid (PCI:0000:08:00): 79, pid='<unknown>', name=<unknown>\n")
        out.write("3,2,1,-;NVRM: Xid (PCI:0000:08:00): 9999, an unknown one\n")
    document = read_valid_document(sampler)
    assert [(xid["address"], xid["xid"], xid["count"]) for xid in document["xids"]] == [
        (THIRD, 79, 1),
        (THIRD, 9999, 1),
    ]


def keys(value: Any, place: str = "") -> Iterator[str]:
    """Yield the path of every key; items of a list share one path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{place}/{key}"
            yield from keys(item, f"{place}/{key}")
    elif isinstance(value, list):
        for item in value:
            yield from keys(item, f"{place}/*")


def test_example_has_the_keys_of_a_real_document(
    rig: SimulatedRig, make_sampler: MakeSampler
) -> None:
    """The page's tests use the example: it has all keys and no others."""
    rigs.result(rig)
    rigs.validation(rig)
    rigs.system(rig)
    log = rig.folder / "kmsg"
    log.touch()
    sampler = make_sampler()
    read_valid_document(sampler)
    log.write_text("NVRM: Xid (PCI:0000:08:00): 31, pid=1\n")
    read, shown = read_valid_document(sampler), example("rig")
    for document in (read, shown):
        for place in ("duration_seconds", "cpu_seconds", "resident_bytes"):
            document["agent"].pop(place)
        for place in ("disk_size_bytes", "disk_free_bytes", "kernel_hazards"):
            document["host"].pop(place)
        for gpu in document["gpus"]:
            gpu["reading"].pop("peer_access")
    assert set(keys(shown)) == set(keys(read))


def test_keys_of_the_example_match_the_code() -> None:
    reading = example("rig")["gpus"][0]["reading"]
    assert set(reading["throttled_seconds"]) == set(THROTTLE_FIELDS)
    assert set(reading["pcie_errors"]) == set(PCIE_ERROR_FIELDS)
    assert set(SCHEMAS["Driver"]["properties"]["state"]["enum"]) == set(get_args(DriverState))


def test_every_field_is_required() -> None:
    """A field is null, never absent, which is simpler for clients."""
    for name, schema in SCHEMAS.items():
        if "properties" in schema:
            assert set(schema["required"]) == set(schema["properties"]), name
