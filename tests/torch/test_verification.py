"""The parts of `make verify-advise` without measurements: predictions and broken promises."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agent.bench.workloads.model import Transformer
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import layer_maker
from lab.verify_advise import cases as verify_advise
from lab.verify_advise import measure
from lab.verify_advise import page as verify_advise_docs
from lab.verify_advise.cases import Comparison
from lab.verify_advise.predict import Calibration, PredictedStep, predict, tensors
from provision.performance.fit import Line

SETTINGS = verify_advise.load()
WORKLOADS = {workload["part"]: workload for workload in SETTINGS["workloads"]}
LINE = Line(latency=0.001, bandwidth=0.95, error=0.01)
NAMES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "sendrecv")
KNOWN = Calibration(
    {(name, ranks): LINE for name in NAMES for ranks in (2, 3)},
    {"reduce_scatter": 2},
    dict.fromkeys(WORKLOADS, 0.5),
)
STILL = {"forward_seconds": 0, "backward_seconds": 0}


def case(**changes: Any) -> Comparison:
    right = Comparison("ddp", 3, 500, 1.0, 1e6, PredictedStep(1.02, 0.5, 1.001e6), 0.1)
    return dataclasses.replace(right, **changes)


def test_calibration_uses_other_rates_than_the_predictions() -> None:
    for some in (SETTINGS, SETTINGS["short"]):
        assert not set(some["calibration"]["rates"]) & set(some["rates"])
    assert min(SETTINGS["calibration"]["sizes_bytes"]) >= 1 << 20


def test_tensor_sizes_match_the_model() -> None:
    shape = ModelShape.parse(WORKLOADS["ddp"]["shape"])
    layer = layer_maker(STILL)(shape, 0)
    assert [parameter.numel() for parameter in layer.parameters()] == tensors(shape)


@pytest.mark.parametrize("ranks", [2, 3])
def test_ddp_sends_a_gradient_for_every_parameter(ranks: int) -> None:
    shape = ModelShape.parse(WORKLOADS["ddp"]["shape"])
    whole = sum(
        parameter.numel() for parameter in Transformer(shape, layer_maker(STILL)).parameters()
    )
    prediction = predict(WORKLOADS["ddp"], ranks, 500, KNOWN)
    assert prediction.sent == pytest.approx(2 * (ranks - 1) / ranks * 4 * whole)


def test_moe_sends_the_shared_gradients_of_the_model() -> None:
    from agent.bench.workloads import moe

    shape = ModelShape.parse(WORKLOADS["moe"]["shape"])
    model = Transformer(shape, moe.layer_maker(None, 0, 3))
    shared = sum(n.numel() for name, n in model.named_parameters() if moe.EXPERT not in name)
    tokens = 4 * shape.layers * 2 / 3 * shape.top_k * 4 * shape.tokens * shape.hidden
    prediction = predict(WORKLOADS["moe"], 3, 500, KNOWN)
    assert prediction.sent == pytest.approx(tokens + 4 / 3 * 4 * shared)


@pytest.mark.parametrize("part", list(WORKLOADS))
def test_slower_link_makes_the_step_longer(part: str) -> None:
    times = [predict(WORKLOADS[part], 3, rate, KNOWN).seconds for rate in (2000, 500, 250)]
    assert times == sorted(times)
    assert times[0] >= predict(WORKLOADS[part], 3, 1e9, KNOWN).quiet


def test_full_token_bucket_is_subtracted_only_after_a_pause() -> None:
    idle = KNOWN.network(3, 500, paused=True).seconds("all_reduce", 3, 4e6)
    busy = KNOWN.network(3, 500, paused=False).seconds("all_reduce", 3, 4e6)
    assert busy - idle == pytest.approx(262144 / (500e6 / 8) / 0.95)


def test_half_duplex_backend_makes_the_pipeline_slower() -> None:
    turns = dataclasses.replace(KNOWN, duplex=False)
    at_once = predict(WORKLOADS["pipeline"], 2, 250, KNOWN).seconds
    assert predict(WORKLOADS["pipeline"], 2, 250, turns).seconds > at_once * 1.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, []),
        ({"predicted": PredictedStep(1.11, 0.5, 1e6)}, ["within 10%", "mean error"]),
        ({"predicted": PredictedStep(0.89, 0.5, 1e6)}, ["within 10%", "mean error"]),
        ({"predicted": PredictedStep(1.05, 0.5, 1e6)}, ["mean error is 5.0%"]),
        ({"predicted": PredictedStep(1.0, 0.5, 1.05e6)}, ["bytes are promised within 4%"]),
        ({"predicted": PredictedStep(1.0, 0.5, 0.95e6)}, ["bytes are promised within 4%"]),
    ],
)
def test_broken_promise_is_reported(changes: dict[str, Any], message: list[str]) -> None:
    wrong = verify_advise.list_broken_promises([case(**changes)], SETTINGS)
    assert len(wrong) == len(message)
    assert all(words in line for words, line in zip(message, wrong, strict=True))


def test_outlier_is_left_out_of_the_fit() -> None:
    points = [(size / 100, 0.001 + size / 95) for size in (1, 2, 4, 8, 16, 32)]
    spoiled = [*points[:4], (points[4][0], points[4][1] * 2), points[5]]
    line, used = measure.fit_line(spoiled)
    assert line is not None
    assert used == 5
    assert line.bandwidth == pytest.approx(0.95)
    assert measure.fit_line(points)[1] == 6


def test_fit_keeps_at_least_half_of_the_points() -> None:
    wild = [(size, size * factor) for size, factor in zip(range(1, 9), (1, 3) * 4, strict=True)]
    line, used = measure.fit_line(wild)
    assert line is not None
    assert used >= len(wild) / 2


def test_page_and_plot_contain_every_case(tmp_path: Any) -> None:
    cases = [case(part=part, ranks=ranks) for part in WORKLOADS for ranks in (2, 3)]
    verify_advise_docs.write(cases, KNOWN, SETTINGS, tmp_path)
    page = (tmp_path / "advise-verified.md").read_text()
    assert page.count("| 1.000 | 1.020 | +2.0% |") == len(cases)
    assert "mean 3%" in page
    plot = (tmp_path / "advise-verified.svg").read_text()
    for title in verify_advise_docs.TITLES.values():
        assert f">{title}<" in plot


def test_row_of_a_case_fits_a_terminal_line() -> None:
    assert len(verify_advise.row(case())) <= 78
