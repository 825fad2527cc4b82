"""A model as the blocks that a step computes, gathers and reduces, on one GPU of a layout."""

from __future__ import annotations

from provision.performance import compute, memory
from provision.performance.candidates import Candidate
from provision.performance.layout import experts_held
from provision.performance.precision import BytesPerParameter
from provision.performance.step_time import Block


def blocks_of(candidate: Candidate, sizes: BytesPerParameter, rate: float) -> list[Block]:
    """Embedding, layers and head as one GPU has them, with seconds of one microbatch.

    Gradients are by matrix, as DDP's buckets see them; of LoRA, only the adapters'.
    """
    model, layout, load = candidate.model, candidate.layout, candidate.load
    back = compute.backward_share(candidate.task, candidate.recompute)
    forward = compute.layer_flops(model, load.tokens, load.sequence) / layout.tensor / rate
    if layout.form == "expert":  # the GPU with most experts has most tokens
        forward *= experts_held(model, layout) * layout.expert / model.experts
    full = candidate.task == "full"
    shared = model.attention + model.small
    held = shared + (0 if layout.form == "expert" else max(model.experts, 1) * model.expert)
    matrices = [model.attention / 4] * 4
    if layout.form != "expert":
        pieces = (3 if model.gated else 2) * max(model.experts, 1)
        matrices += [max(model.experts, 1) * model.expert / pieces] * pieces
    matrices.append(float(model.small))
    if full:
        gradients = tuple(size * sizes.gradient for size in matrices)
    else:
        changed = memory.adapter_parameters(model) * held / model.layer
        gradients = (changed * sizes.gradient,)
    layer = Block(forward, forward * back, gradients, held * sizes.weight)
    head = compute.head_flops(model, load.tokens) / layout.tensor / rate
    first = Block(
        0.0,
        0.0,
        (model.embedding * sizes.gradient,) if full else (),
        model.embedding * sizes.outer,
        kept=True,
    )
    output = 0.0 if model.tied else float(model.output)
    last = Block(
        head,
        head * (2.0 if full else 1.0),
        (output * sizes.gradient,) if full and output else (),
        output * sizes.outer,
        kept=True,
    )
    return [first, *[layer] * model.layers, last]
