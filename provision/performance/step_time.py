"""Computation and communication of one training step on one time line, for each parallelism.

Everything is in seconds and bytes; what computes and what is sent is given, so that the same
functions predict a model on GPUs and a test bench whose layers only sleep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provision.performance.network import Network
from provision.performance.schedule import Stage, one_forward_one_backward
from provision.performance.traffic import Transfer, buckets


@dataclass(frozen=True)
class Block:
    """A part of the model that is gathered, computed and reduced as one: a layer, or the ends.

    forward, backward: seconds for one microbatch. gradients: bytes of each trained tensor, in the
    order of the model's parameters. weights: bytes that FSDP gathers of it. kept: it stays gathered
    between the passes (fully_shard's default for the root, which holds the ends).
    """

    forward: float
    backward: float
    gradients: tuple[float, ...] = ()
    weights: float = 0.0
    kept: bool = False


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step. wire: that the links are busy, as far as it is on this GPU's way."""

    seconds: float
    compute: float
    wire: float

    @property
    def exposed(self) -> float:
        """Seconds that communication (and a pipeline's bubble) adds to the computation."""
        return max(self.seconds - self.compute, 0.0)


def computation(blocks: Sequence[Block], microbatches: int) -> float:
    """Of all microbatches, without the optimizer."""
    return microbatches * sum(block.forward + block.backward for block in blocks)


def serial(compute: float, transfers: Sequence[Transfer], network: Network) -> StepTime:
    """Nothing overlaps: tensor and sequence parallelism, serving."""
    wire = sum(
        transfer.count * network.seconds(transfer.collective, transfer.ranks, transfer.size_bytes)
        for transfer in transfers
    )
    return StepTime(compute + wire, compute, wire)


def data_parallel(
    blocks: Sequence[Block],
    microbatches: int,
    ranks: int,
    network: Network,
    optimizer: float = 0.0,
    bucket_bytes: float = 26214400,
    first_bucket_bytes: float = 1048576,
) -> StepTime:
    """DDP: each bucket is all-reduced as soon as its last gradient is there, one after the other.

        end_i = max(end_(i-1), ready_i) + t(S_i);  step = max(end, forward + backward) + optimizer

    (arXiv 2006.15704, section 3.2.3.) Microbatches but the last are accumulated (no_sync).
    """
    compute = computation(blocks, microbatches)
    now = computation(blocks, microbatches - 1) + sum(block.forward for block in blocks)
    sizes: list[float] = []
    ready: list[float] = []
    for block in reversed(blocks):
        now += block.backward
        sizes += reversed(block.gradients)
        ready += [now] * len(block.gradients)
    end = wire = 0.0
    for size, last in buckets(sizes, bucket_bytes, first_bucket_bytes):
        took = network.seconds("all_reduce", ranks, size)
        end = max(end, ready[last]) + took
        wire += took
    return StepTime(max(end, compute) + optimizer, compute + optimizer, wire)


def fully_sharded(
    blocks: Sequence[Block],
    microbatches: int,
    ranks: int,
    network: Network,
    optimizer: float = 0.0,
    overlap: bool = True,
) -> StepTime:
    """FSDP: blocks are gathered before use, in both passes, and their gradients reduced.

    With `overlap`, the next block is gathered while one computes, and gradients are reduced behind
    it (prefetching, arXiv 2304.11277, section 3.3); all share one link, in the order they are asked
    for. Without, each waits (as gloo on a CPU has it).
    """
    compute = computation(blocks, microbatches)
    gather = [
        network.seconds("all_gather", ranks, block.weights) if block.weights else 0.0
        for block in blocks
    ]
    reduce = [
        network.seconds("reduce_scatter", ranks, sum(block.gradients)) if block.gradients else 0.0
        for block in blocks
    ]
    again = [0.0 if block.kept else took for block, took in zip(blocks, gather, strict=True)]
    wire = microbatches * (sum(gather) + sum(again) + sum(reduce))
    if not overlap:
        return StepTime(compute + wire + optimizer, compute + optimizer, wire)
    free = now = 0.0  # when the link is free; when the last computation ended
    for _ in range(microbatches):
        order = [(index, True) for index in range(len(blocks))]
        order += [(index, False) for index in reversed(range(len(blocks)))]
        began = now  # when the computation before this one began: from then on it is gathered
        pending: tuple[float, float] | None = None  # (may begin, takes) of a reduction
        for index, forward in order:
            arrived = max(free, began) + (gather if forward else again)[index]
            free = arrived
            if pending is not None:  # asked for after this block's gather
                free = max(free, pending[0]) + pending[1]
                pending = None
            began = max(now, arrived)
            now = began + (blocks[index].forward if forward else blocks[index].backward)
            if not forward:
                pending = (now, reduce[index])
        if pending is not None:
            free = max(free, pending[0]) + pending[1]
        now = max(now, free)  # gradients are there before the next microbatch, or the optimizer
    return StepTime(now + optimizer, compute + optimizer, wire)


def pipelined(
    stages: Sequence[Stage],
    microbatches: int,
    message_bytes: float,
    network: Network,
    optimizer: float = 0.0,
    gradients: float = 0.0,
) -> StepTime:
    """Pipeline (1F1B), then `gradients` seconds in which replicas of a stage are brought together.

    compute is the slowest stage's: what is left of the step is bubble and messages.
    """
    end, wire = one_forward_one_backward(
        stages, microbatches, lambda a, b: network.send(a, b, message_bytes), network.duplex
    )
    compute = max(microbatches * (stage.forward + stage.backward) for stage in stages)
    return StepTime(end + gradients + optimizer, compute + optimizer, wire + gradients)


def expert_parallel(
    blocks: Sequence[Block],
    microbatches: int,
    ranks: int,
    exchange: float,
    network: Network,
    optimizer: float = 0.0,
) -> StepTime:
    """Experts on several GPUs: tokens go there and back in each pass and wait (2006.16668).

    exchange: bytes of one all-to-all. Blocks with weights are layers; their gradients (of what
    every GPU holds) are all-reduced as in DDP.
    """
    exchange_seconds = network.seconds("all_to_all", ranks, exchange)
    layers = [block for block in blocks if block.weights]
    slowed = [
        Block(
            block.forward + 2 * exchange_seconds,
            block.backward + 2 * exchange_seconds,
            block.gradients,
        )
        if block.weights
        else block
        for block in blocks
    ]
    step = data_parallel(slowed, microbatches, ranks, network, optimizer)
    compute = computation(blocks, microbatches) + optimizer
    return StepTime(
        step.seconds, compute, step.wire + 4 * exchange_seconds * len(layers) * microbatches
    )
