"""Predictions against figures that others published (public.yml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.performance import candidates, links, machine, models, network
from provision.performance.candidates import Work
from provision.performance.predict import predict

CASES = yaml.safe_load((Path(__file__).parent / "public.yml").read_text())


@pytest.mark.parametrize("case", CASES["bus_bandwidth"], ids=lambda case: str(case["rig"]))
def test_bus_bandwidth_is_close_to_published_figures(case: dict[str, Any]) -> None:
    some = links.parse(case["links"]) * case["gpus"]
    memory = case.get("memory_gbps", 51.2) * 1e9
    made = network.derive_network(some, memory, case.get("p2p", False))
    error = made.cost("all_reduce").bandwidth / 1e9 / case["measured"] - 1
    assert (abs(error) <= case["within"]) is case["met"], f"{error:+.0%}"


@pytest.mark.parametrize("case", CASES["change"], ids=lambda case: str(case["rig"]))
def test_change_against_x16_is_close_to_published_figures(case: dict[str, Any]) -> None:
    words = ",".join(case["links"])
    rig = machine.from_words(f"{case['gpus']}x RTX 3090", words, cpu=case["cpu"])
    model = models.load()[case["model"]]
    # One microbatch a step in training: what a user of plain DDP has.
    work = Work(min(2048, model.context), batch=4 if case["task"] == "full" else 1, accumulate=1)
    (match,) = [
        candidate
        for candidate in candidates.find_candidates(model, rig, case["precision"], work)
        if candidate.task == case["task"] and candidate.layout.form == case["form"]
    ]
    now = predict(match, rig, rig)
    wide = predict(match, rig.uniform(4, 16), rig)
    if case["of"] == "prefill":
        assert now.prefill is not None
        assert wide.prefill is not None
        change = now.prefill / wide.prefill - 1
    else:
        change = now.tokens_per_second / wide.tokens_per_second - 1
    assert (case["least"] <= change <= case["most"]) is case["met"], f"{change:+.1%}"
