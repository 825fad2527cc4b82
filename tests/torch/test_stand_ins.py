"""Parts that need GPUs or NVIDIA's programs, with substitutes for these."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agent.bench import (
    environment,
    nvidia_tools,
    pairs,
    peer,
    plan,
    transfers,
    transport_trials,
)
from agent.bench.communicator import Communicator
from agent.bench.job import Ending
from agent.bench.plan import Resources
from agent.bench.progress import ProgressWriter
from agent.bench.workloads import ddp, pipeline, training
from agent.bench.workloads.training import WorkloadOptions
from tests.torch.recording import GPUS, RecordingRunner
from tests.unit.bench.test_nvidia_tools import ALL_REDUCE, NVBANDWIDTH
from tests.unit.bench.test_transport_trials import P2P, SHM, create_ok_ending

empty, arange, copied = torch.empty, torch.arange, torch.Tensor.copy_


class Alone(Communicator):
    """The only rank, for any size."""

    def _agree(self, values: Sequence[float], operation: Any) -> list[float]:
        return list(values)

    def gather(self, thing: Any) -> list[Any]:
        return [thing] * self.size


@pytest.fixture
def comm() -> Alone:
    return Alone(0, 1, 0, "gloo", torch.device("cpu"), ProgressWriter(None, 0))


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use CPU memory for GPU memory and pinned memory."""

    def create_plain(count: int, **named: Any) -> torch.Tensor:
        return empty(count)

    def count_up(start: int, end: int, dtype: torch.dtype, device: Any) -> torch.Tensor:
        return arange(start, end, dtype=dtype)

    monkeypatch.setattr(torch, "empty", create_plain)
    monkeypatch.setattr(torch, "arange", count_up)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda first, other: first > other)
    for module in (transfers, peer):
        monkeypatch.setattr(module, "describe_gpu", lambda index: (GPUS[index], "GPU"))


def test_transfers_measure_both_directions_pinned_and_pageable(
    on_cpu: None, comm: Alone, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = transfers.run(comm, {"size_bytes": 4000, "repeats": 2})["transfers"]
    assert [(entry["direction"], entry["pinned"]) for entry in entries] == [
        ("host_to_device", True),
        ("host_to_device", False),
        ("device_to_host", True),
        ("device_to_host", False),
    ]
    for entry in entries:
        assert (entry["gpu"], entry["rank"], entry["wrong_values"]) == (GPUS[0], 0, 0)
        assert len(entry["times"]) == 2, "single runs show how much they scatter"
        assert entry["bandwidth_bytes_per_second"] == 4000 / entry["time_seconds"]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines}) == 1, "columns are aligned"


def test_peer_measures_every_pair_of_gpus(on_cpu: None, comm: Alone) -> None:
    two = Alone(0, 2, 0, "gloo", comm.device, comm.progress)
    entries = peer.run(two, {"size_bytes": 4000, "repeats": 1})["peer"]
    assert [(entry["from"], entry["to"], entry["access"]) for entry in entries] == [
        (GPUS[0], GPUS[1], True),
        (GPUS[1], GPUS[0], False),
    ]
    assert [entry["wrong_values"] for entry in entries] == [0, 0]
    assert [len(entry["times"]) for entry in entries] == [1, 1]


def test_changed_values_of_a_copy_are_counted(
    on_cpu: None, comm: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_and_change(target: Any, source: Any, non_blocking: bool = False) -> Any:
        copied(target, source)
        target[3] += 1
        return target

    monkeypatch.setattr(torch.Tensor, "copy_", copy_and_change)
    two = Alone(0, 2, 0, "gloo", comm.device, comm.progress)
    options = {"size_bytes": 4000, "repeats": 2}
    for entry in [
        *transfers.run(comm, options)["transfers"],
        *peer.run(two, options)["peer"],
    ]:
        assert entry["wrong_values"] == 3, "in each repeat, and in the warm-up"


@pytest.mark.parametrize("older", [False, True])
def test_release_returns_cached_memory(monkeypatch: pytest.MonkeyPatch, older: bool) -> None:
    called = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: called.append("GPU"))
    if older:
        monkeypatch.delattr(torch.accelerator, "empty_host_cache")
    place, name = (
        (torch._C, "_host_emptyCache") if older else (torch.accelerator, "empty_host_cache")
    )
    monkeypatch.setattr(place, name, lambda: called.append("host"), raising=False)
    model = torch.nn.Linear(2, 2)
    model.itself = [model]  # as DistributedDataParallel and FSDP hold themselves
    seen = weakref.ref(model)
    del model
    Alone(0, 1, 0, "nccl", torch.device("cuda"), ProgressWriter(None, 0)).release()
    assert seen() is None
    assert sorted(called) == ["GPU", "host"]


def test_small_gpu_runs_the_small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options are those of the plan, for GPUs of mining rigs and for larger ones."""
    (part,) = plan.build_plan("full", Resources("nccl", 2), ["ddp"]).parts
    layers = {}
    for gigabytes in (6, 12):
        properties = SimpleNamespace(total_memory=gigabytes << 30)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda device, given=properties: given
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
        comm = Alone(0, 2, 0, "nccl", torch.device("cuda"), ProgressWriter(None, 0))
        layers[gigabytes] = WorkloadOptions.parse(comm, part.options).shape.layers
    assert layers == {6: 6, 12: 12}


def test_latency_message_is_sent_there_and_back(
    comm: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise messages overlap and hide the latency. Bandwidth is measured one way."""
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        torch.distributed, "send", lambda values, rank: calls.append(("send", len(values), rank))
    )
    monkeypatch.setattr(
        torch.distributed, "recv", lambda values, rank: calls.append(("receive", len(values), rank))
    )
    two = Alone(0, 2, 0, "gloo", comm.device, comm.progress)
    options = {"sizes_bytes": [8, 4000], "repeats": 1, "warm_up": 0, "iterations": 2}
    pairs.run(two, options)
    there, back = ("send", 2, 1), ("receive", 2, 1)
    assert calls == [
        there,
        back,
        there,
        back,
        ("send", 1000, 1),
        back,
        there,
        back,
        there,
        ("receive", 1000, 1),
    ]


def test_pipeline_first_communicates_among_all_ranks(
    comm: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of sends and receives must not be a communicator's first operation."""
    calls: list[str] = []

    class Made(Exception):
        pass

    def stage(*words: Any) -> None:
        calls.append("stage")
        raise Made

    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: calls.append("all ranks"))
    monkeypatch.setattr(pipeline, "PipelineStage", stage)
    with pytest.raises(Made):
        pipeline.run(comm, {"shape": {"layers": 2}})
    assert calls == ["all ranks", "stage"]


@pytest.mark.parametrize("options", [{}, {"bucket_mb": 4}])
def test_bucket_size_is_passed_only_if_set(
    comm: Alone, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    """Passing 25 MiB differs from the default: it would also set the size of the first bucket."""
    given: list[Mapping[str, Any]] = []
    monkeypatch.setattr(ddp, "DistributedDataParallel", lambda model, **more: given.append(more))
    monkeypatch.setattr(training, "train_replicas", lambda *words: {})
    shape = {"layers": 1, "hidden": 8, "heads": 2, "feed_forward": 8, "vocabulary": 16}
    ddp.run(comm, {"shape": shape, **options})
    sizes = {name: size for name, size in given[0].items() if name.startswith("bucket")}
    assert sizes == ({"bucket_cap_mb": 4} if options else {})


@pytest.mark.parametrize(
    ("capability", "native"), [((9, 0), True), ((8, 0), True), ((7, 5), False), ((6, 1), False)]
)
def test_bfloat16_needs_an_ampere_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], native: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    comm = Alone(0, 1, 0, "nccl", torch.device("cuda"), ProgressWriter(None, 0))
    assert comm.has_bfloat16() is native
    setting = WorkloadOptions.parse(comm, {"dtype": "bfloat16"})
    assert setting.dtype == (torch.bfloat16 if native else torch.float32)
    assert WorkloadOptions.parse(comm, {"dtype": "float16"}).dtype == torch.float16


def test_gpu_addresses_have_the_format_of_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(pci_domain_id=0, pci_bus_id=0xC1, pci_device_id=0, name="RTX 3090")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert environment.describe_gpu(0) == ("0000:c1:00.0", "RTX 3090")


def run_trials(**endings: Ending) -> RecordingRunner:
    run: Any = RecordingRunner(endings)
    options = {"hazards": list(endings), "size_bytes": 64, "repeats": 1}
    assert transport_trials.run(run, options).kind == "ok"
    noted: RecordingRunner = run
    return noted


def test_trials_without_faults_change_nothing() -> None:
    run = run_trials(default=create_ok_ending(6e9, SHM), p2p_on=create_ok_ending(6e9, P2P))
    assert [entry["hazard"] for entry in run.document["hazards"]] == ["default", "p2p_on"]
    assert (run.over, run.environment, run.problems) == ([("hazards", [])], {}, [])
    assert max(map(len, run.lines)) <= 80


def test_p2p_with_wrong_values_is_disabled() -> None:
    run = run_trials(
        default=create_ok_ending(9e9, P2P, wrong=2), p2p_off=create_ok_ending(6e9, SHM)
    )
    assert run.environment == {"NCCL_P2P_DISABLE": "1"}
    assert run.over == [("hazards", ["all_reduce with NCCL's defaults: 2 wrong values"])]


def test_p2p_that_hangs_is_disabled() -> None:
    run = run_trials(default=Ending("hang", transports_log=P2P), p2p_off=create_ok_ending(6e9, SHM))
    assert run.environment == {"NCCL_P2P_DISABLE": "1"}
    assert run.problems[0][:2] == ("hazards", "hang")
    assert run.over == [("hazards", "failed", "all_reduce with NCCL's defaults: hang")]


def test_hang_in_a_trial_reports_where_each_rank_waits() -> None:
    ranks: Any = {"0": {"stack": "in synchronize"}}
    hang = Ending("hang", message="no rank made progress for 60 s", advice="Look.", ranks=ranks)
    (problem,) = run_trials(default=hang, p2p_off=create_ok_ending(6e9, SHM)).problems
    assert problem[2] == "all_reduce with NCCL's defaults: no rank made progress for 60 s"
    assert problem[4] == ranks


def test_p2p_is_disabled_after_a_hang_without_a_transport_log() -> None:
    run = run_trials(default=Ending("hang"), p2p_off=create_ok_ending(6e9, SHM))
    assert run.environment == {"NCCL_P2P_DISABLE": "1"}
    assert run_trials(default=Ending("hang"), p2p_off=Ending("hang")).environment == {}


def test_interrupted_trial_ends_the_part() -> None:
    run: Any = RecordingRunner({"default": Ending("interrupted")})
    options = {"hazards": ["default"], "size_bytes": 64, "repeats": 1}
    assert transport_trials.run(run, options).kind == "interrupted"


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return lambda name, script: program(tmp_path, name, script)


def test_missing_tools_are_skipped() -> None:
    run: Any = RecordingRunner()
    nvidia_tools.run(run, {"size_bytes": 64})
    assert run.over == [("tools", "skipped", "not installed: all_reduce_perf, nvbandwidth")]


def test_agreeing_tools_are_reported(install: Callable[[str, str], None], tmp_path: Path) -> None:
    right = json.loads(json.dumps(ALL_REDUCE))
    right["results"][0]["in_place"]["nwrong"] = 0.0
    (tmp_path / "perf.json").write_text(json.dumps(right))
    (tmp_path / "copies.json").write_text(json.dumps(NVBANDWIDTH))
    # -b SIZE -e SIZE -g GPUS -J FILE
    install("all_reduce_perf", f'[ "$2 $6" = "67108864 2" ] && cp {tmp_path}/perf.json "$8"')
    # -j -b MEBIBYTES -t …: as large as our own copies
    install(
        "nvbandwidth", f'[ "$3" = 64 ] && {{ echo a line before; cat {tmp_path}/copies.json; }}'
    )
    run: Any = RecordingRunner()
    run.document["collectives"] = [
        {
            "collective": "all_reduce",
            "sizes": [{"size_bytes": 67108864, "bus_bandwidth_bytes_per_second": 8.1e9}],
        }
    ]
    run.document["transfers"] = [
        {
            "gpu": GPUS[0],
            "direction": "host_to_device",
            "pinned": True,
            "bandwidth_bytes_per_second": 12e9,
        },
        {
            "gpu": GPUS[1],
            "direction": "host_to_device",
            "pinned": True,
            "bandwidth_bytes_per_second": 1e9,
        },
    ]
    nvidia_tools.run(run, {"size_bytes": 64 << 20})
    first, second = run.document["tools"]
    assert (first["tool"], first["agrees"], first["wrong_values"]) == ("all_reduce_perf", True, 0)
    assert (second["tool"], second["agrees"]) == ("nvbandwidth", False)
    assert second["reason"] == f"{GPUS[1]} host_to_device: 6.20 GB/s, ours 1.00"
    assert run.over == [("tools", [])]


def test_wrong_values_of_a_tool_are_reported(
    install: Callable[[str, str], None], tmp_path: Path
) -> None:
    """They are a problem of their part, not only a difference."""
    (tmp_path / "perf.json").write_text(json.dumps(ALL_REDUCE))
    install("all_reduce_perf", f'cp {tmp_path}/perf.json "$8"')
    run: Any = RecordingRunner()
    nvidia_tools.run(run, {"size_bytes": 64 << 20})
    assert run.over == [("tools", ["all_reduce_perf: 2 wrong values"])]


def test_failing_tool_is_reported_with_its_reason(install: Callable[[str, str], None]) -> None:
    install("all_reduce_perf", "echo no CUDA-capable device >&2; exit 3")
    install("nvbandwidth", "exec sleep 60")
    run: Any = RecordingRunner()
    run.remaining_seconds = lambda: 0.2 if run.document["tools"] else 60.0
    nvidia_tools.run(run, {"size_bytes": 64})
    reasons = {entry["tool"]: (entry["agrees"], entry["reason"]) for entry in run.document["tools"]}
    assert reasons["all_reduce_perf"] == (None, "ended with status 3: no CUDA-capable device")
    assert reasons["nvbandwidth"] == (None, "did not end in time")
