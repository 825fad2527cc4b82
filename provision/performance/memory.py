"""What the fullest GPU has to hold, in bytes: weights, gradients, optimizer, activations, cache."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from provision.performance import figures
from provision.performance.layout import Layout, experts_held, stages
from provision.performance.models import LanguageModel
from provision.performance.precision import BytesPerParameter

PREFILL_TOKENS = 2048  # a prompt is read in chunks of as many (vLLM's chunked prefill, its default)
LOSS_BYTES = 8  # an element of the logits: a copy in single precision, and its gradient


@dataclass(frozen=True)
class Load:
    """What one step works on: sequences of `sequence` tokens, `batch` of them a microbatch.

    microbatches: of one replica, a step. In serving, `batch` is the streams served at once.
    """

    sequence: int
    batch: int
    microbatches: int = 1

    @property
    def tokens(self) -> int:
        """Of one microbatch."""
        return self.sequence * self.batch


@dataclass(frozen=True)
class Memory:
    """Bytes on the fullest GPU. buffers: what FSDP gathers at a time, and what DDP reduces."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    cache: float = 0.0
    buffers: float = 0.0

    @property
    def total(self) -> float:
        """All of it; the framework's own is taken off the GPU's memory instead (`usable`)."""
        return float(sum(dataclasses.astuple(self)))


def usable_bytes(memory_bytes: float) -> float:
    """Return a GPU's usable memory, without CUDA's context, NCCL's buffers and fragments."""
    return memory_bytes * figures.value("usable_memory")


def adapter_parameters(model: LanguageModel) -> float:
    """Parameters of one layer's LoRA adapters: rank x (in + out) for each matrix (2106.09685)."""
    rank = figures.value("lora_rank")
    query_width = model.heads * model.head
    key_width = model.kv_heads * model.head
    attention = 2 * (model.hidden + query_width) + 2 * (model.hidden + key_width)
    network = (3 if model.gated else 2) * (model.hidden + model.feed_forward)
    return rank * (attention + max(model.experts, 1) * network)


def trained_parameters(model: LanguageModel, task: str) -> float:
    """Parameters of one layer that training changes."""
    return {"full": float(model.layer), "serve": 0.0}.get(task, adapter_parameters(model))


def layer_activations(model: LanguageModel, sizes: BytesPerParameter, layout: Layout) -> float:
    """Bytes a token that one layer keeps for the backward pass.

    Inputs of both norms and both blocks, queries, keys, values, attention's output, and the
    feed-forward network's inner tensors (arXiv 2205.05198, section 4.1, without dropout and with an
    attention that keeps no scores, 2205.14135). Tensor parallelism splits the inner ones (10 + 24/t
    there), sequence parallelism all.
    """
    outer = 4.0 * model.hidden
    heads = (2 * model.heads + 2 * model.kv_heads) * model.head
    network = (4 if model.gated else 2) * model.feed_forward * (model.top_k or 1)
    inner = (heads + network) / layout.tensor
    if layout.form == "sequence":
        outer /= layout.tensor
    return sizes.activation * (outer + inner)


def cache_bytes(
    model: LanguageModel, load: Load, sizes: BytesPerParameter, layout: Layout, layers: int
) -> float:
    """Return the KV cache of `layers` layers: keys and values of each token of each stream.

    With experts on several GPUs, all else of a stream stays on one: each has its part of them.
    """
    split = min(layout.tensor, model.kv_heads)
    streams = -(-load.batch // layout.data)
    elements = 2 * layers * model.kv_heads * model.head * load.sequence * streams
    return sizes.activation * elements / split


def estimate_memory(
    model: LanguageModel,
    task: str,
    sizes: BytesPerParameter,
    layout: Layout,
    load: Load,
    recompute: bool = False,
) -> Memory:
    """Memory of the fullest GPU. `recompute`: the backward pass computes activations again."""
    parts = stages(model, layout.stages)
    stage_memories = [
        _stage(model, task, sizes, layout, load, recompute, stage, layers)
        for stage, layers in enumerate(parts)
    ]
    return max(stage_memories, key=lambda stage_memory: stage_memory.total)


def _stage(
    model: LanguageModel,
    task: str,
    sizes: BytesPerParameter,
    layout: Layout,
    load: Load,
    recompute: bool,
    stage: int,
    layers: int,
) -> Memory:
    first, last = stage == 0, stage == layout.stages - 1
    held = experts_held(model, layout)
    shared = model.attention + model.small
    layer = (shared + held * model.expert) / layout.tensor
    outer = (model.embedding * first + model.output * last) / layout.tensor
    if model.tied and first and last:
        outer = model.embedding / layout.tensor
    shards = layout.data if layout.sharded else 1
    weights = (layers * layer * sizes.weight + outer * sizes.outer) / shards
    changed = layers * trained_parameters(model, task) * layer / model.layer
    if task == "full":
        changed += outer
    activations = 0.0
    if task == "serve":
        tokens = min(load.tokens, PREFILL_TOKENS)
        activations = tokens * layer_activations(model, sizes, layout)
    else:
        flying = min(layout.stages - stage, load.microbatches)  # 1F1B, arXiv 2104.04473
        whole = layer_activations(model, sizes, layout)
        kept = sizes.activation * model.hidden if recompute else whole
        activations = load.tokens * (layers * kept * flying + (whole if recompute else 0.0))
        if last:
            logits = load.tokens * model.vocabulary * (sizes.activation + LOSS_BYTES)
            activations += logits / layout.tensor
    buffers = 0.0
    if layout.sharded:  # embedding and head, this layer and the next gathered; and one reduced
        gathered = 2 * layer * sizes.weight + outer * sizes.outer
        buffers = gathered + trained_parameters(model, task) * sizes.gradient
    elif layout.data > 1 and task != "serve":
        # DDP's buckets hold every gradient once more (gradient_as_bucket_view=False, its default:
        # PyTorch's documentation of DistributedDataParallel). Experts of one GPU are not reduced.
        alike = shared if layout.expert > 1 else layer
        reduced = layers * trained_parameters(model, task) * alike / model.layer
        buffers = (reduced + (outer if task == "full" else 0.0)) * sizes.gradient
    return Memory(
        weights=weights,
        gradients=changed * sizes.gradient / shards,
        optimizer=changed * sizes.optimizer / shards,
        activations=activations,
        cache=cache_bytes(model, load, sizes, layout, layers) if task == "serve" else 0.0,
        buffers=buffers,
    )
