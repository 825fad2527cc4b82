"""Detection of wrong values: exact patterns of collectives, and norms of model results."""

from __future__ import annotations

import math

import pytest
import torch

from agent.bench.collectives import COLLECTIVES
from agent.bench.collectives.pattern import EXACT, Pattern, count_wrong_values
from agent.bench.document import list_wrong_values
from agent.bench.errors import UnusableError
from agent.bench.workloads.comparison import StepResult, build_check, find_largest_error
from agent.bench.workloads.sleeping_layers import parse_pace
from agent.readings.nccl import COLLECTIVES as READ

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", list(EXACT))
@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 16])
def test_pattern_sums_are_exact(dtype: torch.dtype, ranks: int) -> None:
    pattern = Pattern(ranks, 5, dtype, CPU)
    by_rank = [pattern.compute_values(rank, 0, 1000) for rank in range(ranks)]
    total = by_rank[0].clone()
    for values in by_rank[1:]:
        total += values  # in the data type, as a collective adds
    assert count_wrong_values(total, pattern.compute_sums(0, 1000)) == 0
    assert pattern.prime > 1


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_misplaced_values_are_counted_as_wrong(ranks: int) -> None:
    pattern = Pattern(ranks, 0, torch.float32, CPU)
    here = pattern.compute_values(0, 0, 4096)
    assert count_wrong_values(pattern.compute_values(1, 0, 4096), here) == 4096, "another rank's"
    assert count_wrong_values(pattern.compute_values(0, 1, 4096), here) == 4096, "a place beside"
    assert count_wrong_values(pattern.compute_values(0, 1024, 4096), here) == 4096, "a page beside"
    assert (
        count_wrong_values(Pattern(ranks, 1, torch.float32, CPU).compute_values(0, 0, 4096), here)
        == 4096
    )
    changed = here.clone()
    changed.view(torch.int32)[7] ^= 1
    assert count_wrong_values(changed, here) == 1, "a bit"
    changed[8] = math.nan
    assert count_wrong_values(changed, here) == 2
    assert count_wrong_values(here, here) == 0


@pytest.mark.parametrize("name", list(COLLECTIVES))
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 250, 1024])
def test_buffer_sizes_match_the_element_counts(name: str, ranks: int, size: int) -> None:
    collective = COLLECTIVES[name]
    elements = collective.elements(size, ranks)
    pattern = Pattern(ranks, 0, torch.float32, CPU)
    for rank in range(ranks):
        assert len(collective.sent(pattern, rank, elements)) == elements.send > 0
        expected = collective.expected(pattern, rank, elements)
        assert expected is None or len(expected) == elements.receive > 0
    assert max(elements.send, elements.receive) <= max(size, ranks)


def test_agent_reads_every_collective() -> None:
    assert set(COLLECTIVES) == set(READ)


def outcome(loss: float, *values: float) -> StepResult:
    return StepResult(loss, {"weight": torch.tensor(values)})


def test_largest_error_is_relative_to_the_expected_norm() -> None:
    expected = outcome(2.0, 3.0, 4.0)
    assert find_largest_error(outcome(2.0, 3.0, 4.0), expected) == 0
    assert find_largest_error(outcome(2.0, 3.0, 4.5), expected) == pytest.approx(0.1)
    assert find_largest_error(outcome(1.0, 3.0, 4.5), expected) == pytest.approx(0.5)
    assert find_largest_error(outcome(2.0, 3.0, math.nan), expected) == math.inf
    assert find_largest_error(outcome(2.0, 3.0), expected) == math.inf, "another shape"
    assert find_largest_error(StepResult(2.0, {"bias": torch.zeros(2)}), expected) == math.inf
    assert find_largest_error(outcome(2.0, 3.0, 4.0), outcome(2.0, 0.0, 0.0)) > 1e9


def test_one_wrong_value_of_a_million_fails_the_check() -> None:
    expected = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1))
    changed = expected.clone()
    changed[777] += 1.0
    error = find_largest_error(StepResult(1.0, {"x": changed}), StepResult(1.0, {"x": expected}))
    assert not build_check("", error, torch.float32)["right"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_missing_rank_of_eight_fails_the_check(dtype: torch.dtype) -> None:
    parts = torch.randn(8, 10_000, generator=torch.Generator().manual_seed(1))
    result, expected = (
        StepResult(1.0, {"x": parts[:7].mean(0)}),
        StepResult(1.0, {"x": parts.mean(0)}),
    )
    check = build_check("", find_largest_error(result, expected), dtype)
    assert not check["right"]
    assert list_wrong_values({"workloads": [{"workload": "ddp", "check": check}]})


def test_infinite_error_is_written_as_a_finite_number() -> None:
    check = build_check("", math.inf, torch.float32)
    assert (check["right"], math.isfinite(check["largest_error"])) == (False, True)


def test_compute_option_is_parsed_as_real_or_pace() -> None:
    assert parse_pace("real") is None
    pace = parse_pace({"forward_seconds": 0.5, "backward_seconds": 1})
    assert pace is not None
    assert (pace.forward_seconds, pace.scale(0.5).backward_seconds) == (0.5, 0.5)
    for compute in (
        "sleep",
        {},
        {"forward_seconds": 1},
        {"forward_seconds": 1, "backward_seconds": "x"},
    ):
        with pytest.raises(UnusableError, match="compute is"):
            parse_pace(compute)
