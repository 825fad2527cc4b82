"""The memory that a GPU needs, against manual calculation (memory.yml), and what fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.performance import memory, models, precision
from provision.performance.layout import Layout, stages
from provision.performance.memory import Load

KNOWN = models.load()
CASES = yaml.safe_load((Path(__file__).parent / "memory.yml").read_text())
LOAD = Load(sequence=2048, batch=1, microbatches=4)


def build_layout(form: str, gpus: int) -> Layout:
    return {
        "single": Layout("single"),
        "ddp": Layout("ddp", data=gpus),
        "fsdp": Layout("fsdp", data=gpus, sharded=True),
        "tensor": Layout("tensor", tensor=gpus),
        "sequence": Layout("sequence", tensor=gpus),
        "pipeline": Layout("pipeline", stages=gpus),
        "expert": Layout("expert", data=gpus, expert=gpus),
    }[form]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_memory_matches_manual_calculation(case: dict[str, Any]) -> None:
    estimate = memory.estimate_memory(
        KNOWN[case["model"]],
        case["task"],
        precision.bytes_per_parameter(case["task"], case["precision"]),
        build_layout(case["form"], case.get("gpus", 1)),
        LOAD,
        case.get("recompute", False),
    )
    assert getattr(estimate, case["part"]) / 2**30 == pytest.approx(case["gib"], rel=0.005)
    assert estimate.total >= getattr(estimate, case["part"])


def test_sequence_parallelism_splits_all_activations() -> None:
    model, sizes = KNOWN["llama-2-7b"], precision.bytes_per_parameter("full", "bf16")
    whole = memory.layer_activations(model, sizes, Layout("single"))
    tensor = memory.layer_activations(model, sizes, Layout("tensor", tensor=2))
    sequence = memory.layer_activations(model, sizes, Layout("sequence", tensor=2))
    assert sequence == whole / 2
    assert sequence < tensor < whole


def test_kv_cache_of_a_stream_is_on_one_gpu_with_expert_parallelism() -> None:
    model, sizes = KNOWN["mixtral-8x7b"], precision.bytes_per_parameter("serve", "int8")
    layout = build_layout("expert", 4)
    one_stream, four_streams, five_streams = (
        memory.estimate_memory(model, "serve", sizes, layout, Load(2048, streams)).cache
        for streams in (1, 4, 5)
    )
    assert one_stream == four_streams == five_streams / 2
    single = memory.estimate_memory(
        model, "serve", sizes, build_layout("single", 1), Load(2048, 4)
    ).cache
    assert single == 4 * four_streams


def test_the_first_stage_keeps_a_microbatch_for_every_stage() -> None:
    """1F1B: the first of p stages holds p microbatches, whatever their total number."""
    model, sizes = KNOWN["llama-2-7b"], precision.bytes_per_parameter("lora", "bf16")
    single, few, many = (
        memory.estimate_memory(
            model, "lora", sizes, Layout("pipeline", stages=3), Load(2048, 1, count)
        )
        for count in (1, 3, 30)
    )
    assert few == many
    assert few.activations > 1.5 * single.activations


def test_stages_hold_all_layers_and_are_balanced() -> None:
    for model in KNOWN.values():
        for count in (2, 3, 4):
            parts = stages(model, count)
            assert sum(parts) == model.layers
            held = [layers * model.layer for layers in parts]
            held[0] += model.embedding
            held[-1] += model.output
            assert max(held) - min(held) <= max(model.layer, model.output)


def test_quantized_model_can_only_be_trained_by_adapters() -> None:
    assert "can't be trained" in precision.check("full", "int8")
    assert precision.check("lora", "int8") == ""
    assert precision.check("serve", "int4") == ""
