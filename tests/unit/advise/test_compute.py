"""FLOPs, bytes read, and the bottleneck."""

from __future__ import annotations

import pytest

from provision.hardware import cards
from provision.performance import candidates, compute, models, precision
from provision.performance.candidates import Candidate, Work
from provision.performance.layout import Layout
from provision.performance.network import ANY, Cost, Network
from provision.performance.predict import predict
from provision.performance.prediction import ARITHMETIC, MEMORY, bottleneck
from provision.performance.step_time import StepTime
from provision.performance.traffic import Transfer
from tests.unit.advise import rigs

KNOWN = models.load()


def find_candidate(model: str, task: str, form: str, work: Work, wanted: str = "bf16") -> Candidate:
    every_candidate = candidates.find_candidates(KNOWN[model], rigs.seed(), wanted, work)
    (match,) = [
        candidate
        for candidate in every_candidate
        if (candidate.task, candidate.layout.form) == (task, form)
    ]
    return match


def test_step_takes_six_flops_per_parameter_and_token() -> None:
    """Attention adds 12 x layers x hidden x sequence / 2 (2104.04473)."""
    model, tokens = KNOWN["llama-2-7b"], 2048
    forward = model.layers * compute.layer_flops(model, tokens, tokens)
    forward += compute.head_flops(model, tokens)
    step = forward * (1 + compute.backward_share("full", recompute=False))
    matrices = model.total - model.embedding
    attention = 6 * model.layers * model.hidden * tokens * tokens
    assert step == pytest.approx(6 * matrices * tokens + attention, rel=0.001)


@pytest.mark.parametrize(
    ("task", "recompute", "share"),
    [("full", False, 2), ("full", True, 3), ("lora", False, 1), ("qlora", True, 2)],
)
def test_backward_is_twice_forward_unless_weights_are_frozen(
    task: str, recompute: bool, share: float
) -> None:
    assert compute.backward_share(task, recompute) == share


def test_half_precision_is_no_faster_without_tensor_cores() -> None:
    table = cards.cards()
    pascal, ampere = cards.card("GTX 1080 Ti", table), cards.card("RTX 3090", table)
    assert compute.peak(pascal, "bf16") == compute.peak(pascal, "fp32") == 11.3e12
    assert compute.peak(ampere, "bf16") == 71e12
    assert compute.peak(ampere, "fp32") == 35.6e12


def test_measured_gemm_replaces_the_figure_of_the_table() -> None:
    card = cards.card("RTX 3090", cards.cards())
    assert compute.rate(card, "bf16") == 71e12 * 0.5
    assert compute.rate(card, "bf16", gemm=60e12) == pytest.approx(60e12 * 0.7)


def test_decoding_one_token_reads_only_its_experts() -> None:
    model, sizes, layout = (
        KNOWN["mixtral-8x7b"],
        precision.bytes_per_parameter("serve", "bf16"),
        Layout("single"),
    )
    one_stream = compute.decode_bytes(model, sizes, layout, model.layers, 1, 0.0)
    many_streams = compute.decode_bytes(model, sizes, layout, model.layers, 64, 0.0)
    assert one_stream == pytest.approx(2 * 12.9e9, rel=0.02)  # 13 B active of 47 B
    assert many_streams == pytest.approx(2 * (model.total - model.embedding), rel=0.001)


def test_one_stream_is_bound_by_memory_and_many_by_arithmetic() -> None:
    few = find_candidate("gpt2", "serve", "single", Work(512))
    many = find_candidate("gpt2", "serve", "single", Work(512, streams=256))
    rig = rigs.seed()
    slow, fast = predict(few, rig, rig), predict(many, rig, rig)
    assert slow.bound_by == MEMORY
    assert fast.tokens_per_second > 10 * slow.tokens_per_second
    prompt = find_candidate("gpt2", "serve", "single", Work(16, streams=4096))
    prediction = predict(prompt, rig, rig)
    assert prediction.bound_by == ARITHMETIC
    model = prompt.model
    matrices = model.layers * (model.attention + model.expert) + model.output
    assert prediction.tokens_per_second * 2 * matrices <= prediction.rate


def test_fsdp_gathers_embedding_and_head_in_forward_only() -> None:
    rig = rigs.seed()
    candidate = find_candidate("llama-3.2-3b", "lora", "fsdp", Work(2048))
    sent = {
        transfer.what: transfer.size_bytes for transfer in predict(candidate, rig, rig).transfers
    }
    ends = sent["weights, forward"] - sent["weights, backward"]
    assert ends == pytest.approx(2 * candidate.model.embedding)


WIRE = Network({ANY: Cost(1.0, 0.0, 1.0, because="Gen2 x1")})


@pytest.mark.parametrize(
    ("step", "quiet", "size", "to_blame"),
    [
        (StepTime(10, 9.5, 0.5), 0.0, 100, "the rest"),
        (StepTime(30, 10, 20), 0.0, 100, "Gen2 x1"),
        (StepTime(30, 10, 20), 0.0, 0.5, "latency"),
        (StepTime(30, 10, 20), 29.0, 100, "the pipeline's bubble"),
    ],
)
def test_bottleneck_is_named(step: StepTime, quiet: float, size: float, to_blame: str) -> None:
    sent = [Transfer("x", "all_reduce", 2, size, 1)]
    assert bottleneck(step, quiet, sent, WIRE, "the rest") == to_blame


def test_expert_is_read_whole_by_the_gpu_that_holds_it() -> None:
    """Two experts of a token are on two of eight GPUs: each reads one, not a quarter of it."""
    model = models.load()["mixtral-8x7b"]
    sizes, layout = (
        precision.bytes_per_parameter("serve", "int8"),
        Layout("expert", data=8, expert=8),
    )
    read = compute.decode_bytes(model, sizes, layout, model.layers, 1, 0.0)
    shared = model.attention + model.small
    whole = model.layers * (shared + model.expert) * sizes.weight + model.output * sizes.outer
    assert read == pytest.approx(whole)
    # Of one prompt, the experts' products are divided, and all else stays on one GPU.
    alone = compute.served_flops(model, Layout("single"), 2048, 2048, 1)
    experts = 2.0 * 2048 * model.layers * model.top_k * model.expert
    split = compute.served_flops(model, layout, 2048, 2048, 1)
    assert split == pytest.approx(alone - experts + experts / 8)
    many = compute.served_flops(model, layout, 2048, 2048, 64)
    assert many == pytest.approx(alone / 8)
