"""One step of training, in each form of parallelism."""

from __future__ import annotations

from collections.abc import Sequence

from provision.performance import compute, figures, precision, step_time, traffic
from provision.performance.blocks import blocks_of
from provision.performance.candidates import Candidate
from provision.performance.layout import stages
from provision.performance.machine import Machine
from provision.performance.network import ANY, FREE, Network
from provision.performance.precision import BytesPerParameter
from provision.performance.prediction import ARITHMETIC, Prediction, bottleneck
from provision.performance.schedule import Stage
from provision.performance.step_time import Block, StepTime
from provision.performance.traffic import Transfer


def train(
    candidate: Candidate, rig: Machine, network: Network, rate: float, rate_from: str
) -> Prediction:
    """Return one step; `network` is that of the GPUs in use, `rate` their FLOP/s."""
    model, layout, load = candidate.model, candidate.layout, candidate.load
    sizes = precision.bytes_per_parameter(candidate.task, candidate.precision)
    blocks = blocks_of(candidate, sizes, rate)
    slowest = min(
        (rig.cards[at] for at in rig.best(layout.gpus)), key=lambda card: card.memory_bandwidth
    )
    held = candidate.memory.optimizer / sizes.optimizer if candidate.memory else 0.0
    optimizer = compute.optimizer_seconds(slowest, held)
    activations = load.tokens * model.hidden * sizes.activation
    count = load.microbatches
    sent: list[Transfer] = []
    quiet = 0.0  # what the step would take if messages took no time: a pipeline's bubble stays
    if layout.form == "single":
        now = step_time.computation(blocks, count) + optimizer
        done = StepTime(now, now, 0.0)
    elif layout.form == "ddp":
        gradients = sum(sum(block.gradients) for block in blocks)
        sent = traffic.data(gradients, layout.data)
        done = step_time.data_parallel(
            blocks,
            count,
            layout.data,
            network,
            optimizer,
            figures.value("bucket_bytes"),
            figures.value("first_bucket_bytes"),
        )
    elif layout.form == "fsdp":
        weights = sum(block.weights for block in blocks if not block.kept)
        ends = sum(block.weights for block in blocks if block.kept)
        gradients = sum(sum(block.gradients) for block in blocks)
        sent = traffic.sharded(weights, gradients, layout.data, count, ends)
        done = step_time.fully_sharded(blocks, count, layout.data, network, optimizer)
    elif layout.form == "expert":
        exchange = (model.top_k or 1) * activations
        shared = sum(sum(block.gradients) for block in blocks)
        sent = traffic.expert(activations, model.top_k, model.layers, layout.expert, count)
        sent += traffic.data(shared, layout.data)
        done = step_time.expert_parallel(blocks, count, layout.data, exchange, network, optimizer)
    elif layout.form in ("tensor", "sequence"):
        sent = traffic.tensor(
            activations, model.layers, layout.tensor, count, layout.form == "sequence"
        )
        done = step_time.serial(step_time.computation(blocks, count) + optimizer, sent, network)
    else:
        done, quiet, sent = _pipeline(candidate, blocks, network, activations, sizes, optimizer)
    tokens = load.tokens * count * layout.data
    bound = bottleneck(done, quiet, sent, network, ARITHMETIC)
    return Prediction(done, tokens / done.seconds, bound, tuple(sent), network, rate, rate_from)


def _pipeline(
    candidate: Candidate,
    blocks: Sequence[Block],
    network: Network,
    activations: float,
    sizes: BytesPerParameter,
    optimizer: float,
) -> tuple[StepTime, float, list[Transfer]]:
    """Pipeline, and 3D: stages whose layers are split further, and which are replicated."""
    model, layout, count = candidate.model, candidate.layout, candidate.load.microbatches
    inner = traffic.tensor(activations, model.layers, layout.tensor, count)
    wait = step_time.serial(0.0, inner, network).seconds / (
        model.layers * count * 2
    )  # a layer and pass
    parts, at = [], 1
    for index, layers in enumerate(stages(model, layout.stages)):
        stage_blocks = list(blocks[at : at + layers])
        at += layers
        forward = sum(block.forward + wait for block in stage_blocks)
        backward = sum(block.backward + wait for block in stage_blocks)
        for end, here in ((blocks[0], index == 0), (blocks[-1], index == layout.stages - 1)):
            forward += end.forward * here
            backward += end.backward * here
        parts.append(Stage(forward, backward))
    held = candidate.memory.gradients / sizes.gradient if candidate.memory else 0.0
    gradients = held * sizes.gradient if layout.data > 1 else 0.0
    together = network.seconds("all_reduce", layout.data, gradients)
    done = step_time.pipelined(parts, count, activations, network, optimizer, together)
    quiet = step_time.pipelined(parts, count, 0.0, Network({ANY: FREE}), optimizer).seconds
    sent = traffic.pipeline(activations, layout.stages, count)
    if layout.tensor > 1:
        share = max(stages(model, layout.stages)) / model.layers
        sent += traffic.tensor(activations, model.layers, layout.tensor, round(count * share))
    if layout.data > 1:
        sent += traffic.data(gradients, layout.data)
    return done, quiet, sent
