"""Arithmetic: FLOPs of a layer, and the seconds that a GPU takes for them."""

from __future__ import annotations

import math

from provision.hardware.cards import Card
from provision.performance import figures
from provision.performance.layout import Layout, experts_held
from provision.performance.models import LanguageModel
from provision.performance.precision import BytesPerParameter


def layer_flops(model: LanguageModel, tokens: int, sequence: int) -> float:
    """Of one layer's forward pass over `tokens` in sequences of `sequence`.

    Two a parameter and token, and attention's two products with half of the sequence on average
    (causal): arXiv 2001.08361, table 1; 2104.04473, section 5.1.
    """
    matrices = model.layer_active - model.small + model.experts * model.hidden
    attention = 2 * sequence * model.heads * model.head
    return float(tokens * (2 * matrices + attention))


def served_flops(
    model: LanguageModel, layout: Layout, tokens: int, sequence: int, streams: int
) -> float:
    """Of one GPU for one forward pass over `tokens` of so many streams.

    Tensor parallelism splits everything; expert parallelism the experts, while all else of a stream
    stays on one GPU.
    """
    whole = model.layers * layer_flops(model, tokens, sequence) + head_flops(model, tokens)
    if layout.form != "expert":
        return whole / layout.tensor / layout.data
    experts = 2.0 * tokens * model.layers * model.top_k * model.expert
    return (whole - experts) / min(layout.data, streams) + experts / layout.expert


def head_flops(model: LanguageModel, tokens: int) -> float:
    """Of the product with the vocabulary."""
    return 2.0 * tokens * model.output


def backward_share(task: str, recompute: bool) -> float:
    """FLOPs of the backward pass over those of the forward pass.

    2: gradients of inputs and of weights (6 FLOPs a parameter and token in all). 1 for LoRA, whose
    large weights have no gradient. One more with recomputation (8 instead of 6).
    """
    return (2.0 if task == "full" else 1.0) + (1.0 if recompute else 0.0)


def peak(card: Card, precision: str) -> float:
    """Theoretical FLOP/s; quantized weights are unpacked to 16 bits first."""
    return card.fp32_flops if precision == "fp32" else card.fp16_flops or card.fp32_flops


def rate(card: Card, precision: str, gemm: float | None = None) -> float:
    """FLOP/s that a training step reaches; `gemm`: measured FLOP/s of a large matrix product."""
    if gemm is not None:
        return gemm * figures.value("step_share_of_gemm")
    return peak(card, precision) * figures.value("step_share_of_peak")


def optimizer_seconds(card: Card, parameters: float) -> float:
    """Return one AdamW step: it is bound by memory, and reads and writes 28 bytes a parameter.

    Weight, gradient, master copy and two moments are read (2 + 2 + 4 + 4 + 4), all but the gradient
    written again (2 + 4 + 4 + 4): 30 for 16-bit weights, 28 for single precision.
    """
    return parameters * 30 / (card.memory_bandwidth * figures.value("decode_share_of_memory"))


def decode_bytes(
    model: LanguageModel,
    sizes: BytesPerParameter,
    layout: Layout,
    layers: int,
    batch: int,
    cached: float,
) -> float:
    """Bytes that one GPU reads from its memory for one token of each of `batch` streams.

    `cached`: the KV cache that it holds. Of experts, those that some token goes to, on the GPU that
    has most of them: whole ones are read, and the others wait for it.
    """
    shared = (model.attention + model.small) / layout.tensor
    held = experts_held(model, layout)
    busy = min(held, math.ceil(batch * model.top_k / layout.expert)) if model.experts else 1
    layer = shared + busy * model.expert / layout.tensor
    head = model.output * sizes.outer / layout.tensor / layout.stages
    return layers * layer * sizes.weight + head + cached
