"""What fits and what does not, case by case (fits.yml), and the alternatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.performance import alternatives, candidates, machine, models
from provision.performance.candidates import Candidate, Work
from tests.unit.advise import rigs

KNOWN = models.load()
CASES = yaml.safe_load((Path(__file__).parent / "fits.yml").read_text())


def find_for_task(case: dict[str, Any]) -> list[Candidate]:
    gpus = case.get("gpus", "3x RTX 3090")
    rig = rigs.seed(links=f"{gpus.split('x ')[0]}x gen3x4", gpus=gpus)
    model = KNOWN[case["model"]]
    work = Work(min(2048, model.context))
    matching = candidates.find_candidates(model, rig, case["precision"], work)
    return [candidate for candidate in matching if candidate.task == case["task"]]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_candidates_that_fit_match_the_cases(case: dict[str, Any]) -> None:
    matching = find_for_task(case)
    if "fits" in case:
        assert [candidate.layout.form for candidate in matching if candidate.fits] == case["fits"]
    else:
        (candidate,) = [
            candidate for candidate in matching if candidate.layout.form == case["form"]
        ]
        assert case["reason"] in candidate.reason


def test_every_form_processes_the_same_sequences_per_step() -> None:
    every_candidate = candidates.find_candidates(
        KNOWN["gpt2"], rigs.seed(), "bf16", Work(1024, batch=2, accumulate=4)
    )
    for candidate in every_candidate:
        if candidate.task == "full" and candidate.layout.form != "sequence":
            assert (
                candidate.load.batch * candidate.load.microbatches * candidate.layout.data
                == 2 * 4 * 3
            )


def test_activations_are_recomputed_only_if_memory_requires_it() -> None:
    every_candidate = candidates.find_candidates(
        KNOWN["llama-2-7b"], rigs.seed(), "bf16", Work(2048)
    )
    again = {
        (candidate.task, candidate.layout.form): candidate.recompute
        for candidate in every_candidate
        if candidate.fits
    }
    assert again["lora", "ddp"]
    assert not again["qlora", "ddp"]


def test_alternatives_are_named_for_70b_in_int8_on_three_3090() -> None:
    ways = {
        way.what: way
        for way in alternatives.find_alternatives(
            KNOWN["llama-2-70b"], rigs.seed(), "int8", Work(2048)
        )
    }
    assert ways["int4"].works
    assert "12.5 GiB a GPU" in ways["int4"].how
    assert ways["a smaller model"].works
    # 9 of 80 layers, 7.2 GiB, over the x16 link at 85 % of 15.75 GB/s; or at the memory's 42.7.
    assert "9 of 80 layers" in ways["offload"].how
    assert "at most 1.73 tokens/s" in ways["offload"].how
    assert "by the processor: at most 5.5" in ways["offload"].how


def test_offloading_is_refused_if_the_kv_cache_does_not_fit() -> None:
    ways = alternatives.find_alternatives(
        KNOWN["llama-2-7b"], rigs.seed(), "int8", Work(4096, streams=64)
    )
    (offload,) = [way for way in ways if way.what == "offload"]
    assert not offload.works
    assert "KV cache" in offload.how


def test_cards_with_the_most_memory_are_used_first() -> None:
    rig = rigs.seed("gen3x16,gen2x1", "GTX 1060 6GB, RTX 3090")
    assert rig.best(1) == [1]
    three = rigs.seed("gen3x16,gen3x1,gen3x1", "RTX 3060, 2x RTX 3090")
    assert three.best(2) == three.uniform(4, 16).best(2) == [1, 2]
    alike = rigs.seed("gen2x1,gen3x16,gen3x4")
    assert alike.best(2) == [1, 2]


def test_ddp_holds_every_gradient_twice() -> None:
    every_candidate = candidates.find_candidates(
        KNOWN["llama-3.2-1b"], rigs.seed(), "bf16", Work(1024)
    )
    memory = {
        candidate.layout.form: candidate.memory
        for candidate in every_candidate
        if candidate.task == "full" and candidate.memory
    }
    assert memory["ddp"].buffers == pytest.approx(memory["ddp"].gradients)
    assert memory["ddp"].gradients == memory["single"].gradients
    assert memory["single"].buffers == 0


def test_offloading_needs_enough_host_memory() -> None:
    gpu = rigs.gpu([rigs.port("0000:04:00.0", 1, 8.0)])
    rig = machine.from_facts("attic", rigs.facts(gpu, gpu, gpu, memory_mib=3936))
    ways = alternatives.find_alternatives(KNOWN["llama-2-70b"], rig, "bf16", Work(2048))
    (offload,) = [way for way in ways if way.what == "offload"]
    assert not offload.works
    assert "this host has 3.8 GiB" in offload.how
