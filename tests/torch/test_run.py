"""One run of every part that gloo supports, with three ranks and odd sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.bench.entries import BenchDocument
from agent.bench.plan import WORKLOADS
from agent.readings.nccl import ResultReader
from tests.torch.launch import BenchProcess, launch

RANKS = 3
LEAST, MOST = 1003, 70001


@dataclass
class Run:
    bench: BenchProcess
    document: BenchDocument
    folder: Path

    def parts(self) -> dict[str, Mapping[str, Any]]:
        return {part["part"]: part for part in self.document["parts"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    (folder / "results").mkdir()
    words = [
        "--plan",
        "quick",
        "--backend",
        "gloo",
        "--ranks",
        str(RANKS),
        "--repeats",
        "2",
        "--min-bytes",
        str(LEAST),
        "--max-bytes",
        str(MOST),
        "--factor",
        "10",
        "--results",
        str(folder / "results"),
        "--output",
        str(folder / "document.json"),
    ]
    with launch(folder, *words) as bench:
        document = bench.wait_for_document()
        return Run(bench, document, folder)


def test_all_parts_end_without_problems(run: Run) -> None:
    assert run.document["problems"] == []
    assert run.bench.process.returncode == 0
    statuses = {name: part["status"] for name, part in run.parts().items()}
    assert set(statuses.values()) == {"ok", "skipped"}
    assert [name for name, status in statuses.items() if status == "skipped"] == ["three_d"]
    assert run.parts()["three_d"]["reason"] == "needs 8 ranks (2 x 2 x 2), got 3"


def test_document_describes_the_run(run: Run) -> None:
    document = run.document
    assert (document["format"], document["version"]) == ("deeprig-bench", 1)
    assert (document["backend"], document["ranks"], document["nodes"]) == ("gloo", RANKS, 1)
    assert (document["torch"] or "").startswith("2.")
    assert (document["gpus"], document["nccl"]) == ([], None)
    assert document["started_at"] < document["finished_at"]


def test_every_collective_is_measured_at_every_size(run: Run) -> None:
    entries = {entry["collective"]: entry for entry in run.document["collectives"]}
    assert sorted(entries) == sorted(
        [
            "all_reduce",
            "all_gather",
            "reduce_scatter",
            "broadcast",
            "reduce",
            "all_to_all",
            "sendrecv",
        ]
    )
    for name, entry in entries.items():
        counts = [size["count"] for size in entry["sizes"]]
        split = RANKS if name in ("all_gather", "reduce_scatter", "all_to_all") else 1
        assert counts == [LEAST // 4 // split, LEAST * 10 // 4 // split, MOST // 4 // split], name
        for size in entry["sizes"]:
            assert size["size_bytes"] == size["count"] * 4 * split, name
            assert (size["wrong_values"], len(size["times"])) == (0, 2), name
            assert size["time_seconds"] == sum(size["times"]) / 2, name
            rate = size["size_bytes"] / size["time_seconds"]
            assert size["algorithm_bandwidth_bytes_per_second"] == pytest.approx(rate), name


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("all_reduce", 4 / 3),
        ("all_gather", 2 / 3),
        ("reduce_scatter", 2 / 3),
        ("all_to_all", 2 / 3),
        ("broadcast", 1),
        ("reduce", 1),
        ("sendrecv", 1),
    ],
)
def test_bus_bandwidth_factors_match_nccl_tests(run: Run, name: str, factor: float) -> None:
    (entry,) = [entry for entry in run.document["collectives"] if entry["collective"] == name]
    for size in entry["sizes"]:
        ratio = (
            size["bus_bandwidth_bytes_per_second"] / size["algorithm_bandwidth_bytes_per_second"]
        )
        assert ratio == pytest.approx(factor)


def test_every_pair_is_measured_in_both_directions(run: Run) -> None:
    pairs = [(entry["from"], entry["to"]) for entry in run.document["pairs"]]
    assert sorted(pairs) == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
    assert all(entry["wrong_values"] == 0 for entry in run.document["pairs"])
    assert all(entry["size_bytes"] == MOST for entry in run.document["pairs"])


def test_every_rank_runs_gemm_without_wrong_values(run: Run) -> None:
    assert [(entry["rank"], entry["wrong_values"]) for entry in run.document["gemm"]] == [
        (0, 0),
        (1, 0),
        (2, 0),
    ]
    for entry in run.document["gemm"]:
        assert len(entry["times"]) == 2
        assert min(entry["times"]) <= entry["time_seconds"] <= max(entry["times"])


def test_every_workload_agrees_with_the_unsplit_model(run: Run) -> None:
    entries = {entry["workload"]: entry for entry in run.document["workloads"]}
    assert set(entries) == set(WORKLOADS) - {"three_d"}
    for name, entry in entries.items():
        check = entry["check"]
        assert check["right"], name
        assert 0 < check["largest_error"] <= check["tolerance"], f"{name}: it did compute"
        assert entry["compute"] == "real"
        assert entry["tokens_per_second"] > 0
        assert entry["step_seconds"] in entry["steps"] or len(entry["steps"]) % 2 == 0
    shape = entries["ddp"]["shape"]
    h, f, v = shape["hidden"], shape["feed_forward"], shape["vocabulary"]
    layer = 4 * h * h + 2 * h * f + 4 * h  # four projections, two matrices, two norms
    assert entries["ddp"]["parameters"] == shape["layers"] * layer + 2 * v * h + 2 * h
    whole = {entries[name]["parameters"] for name in ("ddp", "fsdp", "pipeline", "tensor")}
    assert len(whole) == 1, "the same model, however it is split"


def test_events_are_in_order(run: Run) -> None:
    """Parts do not overlap, their numbers increase, and the document is last."""
    open_part, numbers = None, []
    for event in run.bench.events[:-1]:
        if event["event"] == "begin":
            assert open_part is None
            open_part = event["part"]
            numbers.append((event["number"], event["of"]))
        elif event["event"] == "end":
            assert event["part"] == open_part
            assert event["status"] in ("ok", "skipped")
            open_part = None
        else:
            assert event["event"] == "line"
            assert open_part or event["text"].startswith("starting"), "lines are of their part"
            if event["text"].startswith("# ") and open_part in WORKLOADS:
                assert event["text"].startswith(f"# {open_part}: ")
    assert run.bench.events[-1]["event"] == "document"
    assert len(set(numbers)) == len(numbers) == numbers[0][1] == len(run.document["parts"])


def test_lines_fit_a_terminal(run: Run) -> None:
    lines = [event["text"] for event in run.bench.events if event["event"] == "line"]
    assert len(lines) > 40
    assert [line for line in lines if len(line) > 80] == []


def test_document_is_written_to_the_output_file(run: Run) -> None:
    assert json.loads((run.folder / "document.json").read_text()) == run.document


def test_agent_reads_the_result_file(run: Run) -> None:
    results = ResultReader(run.folder / "results").read()
    assert (results.ignored, results.files_read) == ((), 1)
    assert sorted(result.name for result in results.results) == sorted(
        f"{entry['collective']} gloo {RANKS}" for entry in run.document["collectives"]
    )
    assert all(result.wrong_values == 0 for result in results.results)
    assert [path.name for path in (run.folder / "results").iterdir() if path.name[0] == "."] == []


def test_run_leaves_no_process_and_no_file(run: Run) -> None:
    assert run.bench.list_survivors() == []
    assert sorted(path.name for path in run.folder.iterdir()) == ["document.json", "results"]
