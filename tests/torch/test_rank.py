"""The output of a rank, part by part, and where the rank ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agent.bench import environment, rank
from agent.bench.communicator import Communicator
from agent.bench.progress import ProgressWriter
from tests.torch.test_stand_ins import Alone

GEMM = {"rank": 0, "dtype": "float32", "wrong_values": 0}


def entry(name: str, wrong: int = 0) -> dict[str, Any]:
    return {"collective": name, "sizes": [{"size_bytes": 8, "wrong_values": wrong}]}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run parts, each the `run` of a module, in a single rank; return its output."""
    comm = Alone(0, 1, 0, "gloo", torch.device("cpu"), ProgressWriter(None, 0))
    monkeypatch.setattr(Communicator, "join", lambda *words: comm)
    monkeypatch.setattr(Communicator, "leave", lambda self: None)
    monkeypatch.setattr(environment, "read_versions", lambda comm: {})
    output = tmp_path / "output.json"

    def parts(job: dict[str, Any], **made: Callable[..., Any]) -> dict[str, Any]:
        for name, part in made.items():
            monkeypatch.setitem(sys.modules, f"stand_in_{name}", SimpleNamespace(run=part))
            monkeypatch.setitem(rank.PARTS, name, f"stand_in_{name}")
        options = [{"part": name} for name in made]
        job |= {"backend": "gloo", "output": str(output), "parts": options}
        try:
            rank._run(job, 0, comm.progress)
        finally:
            assert [file.name for file in tmp_path.iterdir()] == ["output.json"]
        document: dict[str, Any] = json.loads(output.read_text())
        return document

    return parts


def test_results_before_an_error_are_kept(
    run: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def pieces(comm: Communicator, options: Any) -> Any:
        yield {"collectives": [entry("all_reduce")]}
        yield {"collectives": [entry("all_reduce"), entry("all_gather")]}
        raise RuntimeError("the next hangs")

    with pytest.raises(RuntimeError, match="the next hangs"):
        run({}, gemm=lambda *words: {"gemm": [GEMM]}, collectives=pieces)
    document = json.loads((tmp_path / "output.json").read_text())
    assert document["gemm"] == [GEMM]
    assert document["collectives"] == [entry("all_reduce"), entry("all_gather")], "each once"
    assert document["parts"] == ["gemm"]


@pytest.mark.parametrize(
    ("job", "parts"),
    [
        ({}, ["collectives", "pairs"]),
        ({"ends_after_wrong": ["pairs"]}, ["collectives", "pairs"]),
        ({"ends_after_wrong": ["collectives", "pairs"]}, ["collectives"]),
    ],
)
def test_ranks_end_after_wrong_values_of_a_listed_part(
    run: Callable[..., dict[str, Any]], job: dict[str, Any], parts: list[str]
) -> None:
    document = run(
        dict(job),
        collectives=lambda *words: {"collectives": [entry("all_reduce", wrong=3)]},
        pairs=lambda *words: {"pairs": []},
    )
    assert document["parts"] == parts


def test_failed_write_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        rank.write(tmp_path / "taken", {})
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
