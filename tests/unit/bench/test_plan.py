"""The parts of a plan, and their sizes."""

from __future__ import annotations

import itertools
import json

import pytest

from agent.bench import plan
from agent.bench.errors import UnusableError
from agent.bench.plan import Resources
from agent.bench.rank import PARTS
from agent.bench.workloads.shape import ModelShape

ALL = [(backend, name) for backend in ("gloo", "nccl") for name in plan.PLANS]
TABLE = json.loads(plan.TABLE.read_text())


@pytest.mark.parametrize(("backend", "name"), ALL)
@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 7, 8, 13])
def test_every_plan_can_be_run_by_any_number_of_ranks(backend: str, name: str, ranks: int) -> None:
    made = plan.build_plan(name, Resources(backend, ranks))
    parts = {part.name: part for part in made.parts}
    assert set(parts) == set(TABLE[backend][name]["parts"])
    for part in made.parts:
        assert bool(part.skipped) == (part.name == "three_d" and ranks != 8)
        if part.name in plan.WORKLOADS:
            small = part.options.get("small", part.options)
            for values in (part.options["shape"], small["shape"]):
                fit_shape(part.name, ModelShape.parse(values), ranks)


def fit_shape(part: str, shape: ModelShape, ranks: int) -> None:
    """Return a shape that these ranks can split."""
    if part in ("tensor", "decode", "three_d"):
        shape.must_divide(2 if part == "three_d" else ranks, "heads", "hidden", "feed_forward")
        assert shape.hidden % shape.heads == 0
    if part == "moe":
        shape.must_divide(ranks, "experts")
        assert shape.top_k <= shape.experts
    if part == "pipeline":
        assert shape.layers >= ranks
        shape.must_divide(shape.microbatches, "batch")


@pytest.mark.parametrize(("backend", "name"), ALL)
def test_plan_has_every_part_of_its_backend(backend: str, name: str) -> None:
    wanted = [part for part in plan.PARTS if backend == "nccl" or part not in plan.ON_GPUS]
    assert sorted(TABLE[backend][name]["parts"]) == sorted(wanted)


def test_every_part_has_a_module_or_a_launcher() -> None:
    assert set(plan.PARTS) == set(PARTS) | set(plan.BY_LAUNCHER)


def test_full_plan_measures_more_than_the_quick_plan() -> None:
    for backend in ("gloo", "nccl"):
        quick, full = (TABLE[backend][name]["parts"]["collectives"] for name in plan.PLANS)
        assert plan.parse_size(full["max_bytes"]) > plan.parse_size(quick["max_bytes"])
        assert full["factor"] < quick["factor"]


@pytest.mark.parametrize(
    ("part", "resources", "reason"),
    [
        ("collectives", Resources("nccl", 1), "two GPUs"),
        ("decode", Resources("nccl", 1), "two GPUs"),
        ("peer", Resources("nccl", 1), "two GPUs"),
        ("gemm", Resources("nccl", 1), ""),
        ("transfers", Resources("nccl", 1), ""),
        ("transfers", Resources("gloo", 2), "NVIDIA"),
        ("tools", Resources("gloo", 2), "NVIDIA"),
        ("hazards", Resources("nccl", 4, nodes=2), "single rig"),
        ("collectives", Resources("nccl", 4, nodes=2), ""),
        ("three_d", Resources("gloo", 8), ""),
        ("three_d", Resources("gloo", 4), "8 ranks"),
        ("three_d", Resources("gloo", 8, numpy=False), "numpy"),
        ("pipeline", Resources("gloo", 2, numpy=False), "numpy"),
        ("ddp", Resources("gloo", 2, numpy=False), ""),
    ],
)
def test_skip_reason_names_the_missing_resource(
    part: str, resources: Resources, reason: str
) -> None:
    skip_reason = plan.find_skip_reason(part, resources)
    assert (reason in skip_reason) if reason else skip_reason == ""


def test_selected_part_without_backend_support_is_skipped() -> None:
    (part,) = plan.build_plan("quick", Resources("gloo", 2), ["transfers"]).parts
    assert part.skipped


def test_selected_parts_keep_the_order_of_the_plan() -> None:
    made = plan.build_plan("quick", Resources("gloo", 2), ["ddp", "environment", "ddp", "gemm"])
    assert [part.name for part in made.parts] == ["environment", "gemm", "ddp"]


def test_command_line_options_replace_those_of_the_plan() -> None:
    changes = {"min_bytes": 16, "max_bytes": 100, "factor": 2, "repeats": 7}
    made = {
        part.name: part.options
        for part in plan.build_plan("full", Resources("nccl", 2), changes=changes).parts
    }
    assert made["collectives"]["sizes_bytes"] == [16, 32, 64, 100]
    assert made["pairs"]["sizes_bytes"] == [16, 100]
    assert made["collectives"]["repeats"] == made["hazards"]["repeats"] == 7
    assert "repeats" not in made["ddp"]
    assert made["transfers"]["size_bytes"] == 128 << 20


def test_trials_of_the_plans_are_in_the_table() -> None:
    from agent.bench.transport_trials import TABLE as HAZARDS

    names = {row["hazard"] for row in json.loads(HAZARDS.read_text())}
    for name in plan.PLANS:
        assert set(TABLE["nccl"][name]["parts"]["hazards"]["hazards"]) <= names


@pytest.mark.parametrize("text", ["", "0", "-8", "8.5", "8T", "M", "8 M x", "8KK"])
def test_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(UnusableError, match="is not a size"):
        plan.parse_size(text)


@pytest.mark.parametrize(
    ("text", "value"), [("8", 8), ("1k", 1024), ("2MB", 2 << 20), ("1G", 1 << 30)]
)
def test_size_is_parsed(text: str, value: int) -> None:
    assert plan.parse_size(text) == value


@pytest.mark.parametrize(
    ("least", "most", "factor"), list(itertools.product([1, 8, 9], [9, 64, 100], [2, 3, 8]))
)
def test_listed_sizes_are_within_the_limits_and_factor(least: int, most: int, factor: int) -> None:
    made = plan.list_sizes(least, most, factor)
    assert (made[0], made[-1]) == (least, most)
    assert made == sorted(set(made))
    assert all(after <= before * factor for before, after in itertools.pairwise(made))


def test_shape_is_validated() -> None:
    assert ModelShape.parse({"layers": 3}).layers == 3
    with pytest.raises(UnusableError, match="no depth"):
        ModelShape.parse({"depth": 3})
    for value in (0, -1, True, 1.5, "8"):
        with pytest.raises(UnusableError, match="layers of a shape"):
            ModelShape.parse({"layers": value})
    with pytest.raises(UnusableError, match="heads 4 can't be split among 3"):
        ModelShape(heads=4).must_divide(3, "heads")
