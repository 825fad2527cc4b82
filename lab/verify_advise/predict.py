"""Predictions of the workloads by provision.advise, from a calibration. No measuring here.

gloo's peculiarities are here, and nowhere in the code under test: it gathers and reduces without
overlap (FSDP on a CPU waits for each), messages both ways between two ranks take turns, and its
collectives reach a share of the link that was fitted on other sizes and rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.bench.workloads.shape import ModelShape, split_layers
from lab.verify_advise.netns import BURST_BYTES
from provision.performance import step_time, traffic
from provision.performance.fit import Line
from provision.performance.network import ANY, FREE, Cost, Network, factor
from provision.performance.schedule import Stage
from provision.performance.step_time import Block
from provision.performance.traffic import Transfer

BYTES = 4  # an element, float32
MEBI = 1 << 20


@dataclass(frozen=True)
class Calibration:
    """lines: by (collective, ranks), of seconds over bytes / rate, so `bandwidth` is a share of it.

    volume: bytes moved for a byte of the ideal collective. one_rank: seconds of a step alone.
    duplex: whether messages both ways between two ranks pass at once.
    """

    lines: Mapping[tuple[str, int], Line]
    volume: Mapping[str, float]
    one_rank: Mapping[str, float]
    duplex: bool = True

    def network(self, ranks: int, megabits: float, paused: bool) -> Network:
        """Costs on links of a rate. paused: messages begin on an idle link, its bucket full."""
        rate = megabits * 1e6 / 8
        free = BURST_BYTES if paused else 0
        costs = {}
        for (collective, some), line in self.lines.items():
            if some == ranks:
                bandwidth = line.bandwidth * rate
                call = line.latency - free / bandwidth
                volume = self.volume.get(collective, 1.0)
                costs[collective] = Cost(call, 0.0, bandwidth, volume, "measured")
        return Network(costs, duplex=self.duplex)


def count_moved_bytes(collective: str, ranks: int, size_bytes: float, volume: float) -> float:
    """Bytes that a rank sends for a collective."""
    return factor(collective, ranks) * volume * size_bytes


@dataclass(frozen=True)
class PredictedStep:
    """Seconds of a step, and of one without messages; bytes that the busiest rank sends in it."""

    seconds: float
    quiet: float
    sent: float


def tensors(shape: ModelShape) -> list[int]:
    """Parameters of one layer by tensor, in the model's own order (agent.bench.workloads.model)."""
    hidden, inner = shape.hidden, shape.feed_forward
    norm = [hidden, hidden]
    return [*norm, *[hidden * hidden] * 4, *norm, hidden * inner, inner * hidden]


def predict(
    workload: Mapping[str, Any], ranks: int, megabits: float, calibration: Calibration
) -> PredictedStep:
    """A workload of verify_advise.yml on so many ranks and links of a rate (Mbit/s)."""
    shape = ModelShape.parse(workload["shape"])
    alone = calibration.one_rank[workload["part"]]
    return _PARTS[workload["part"]](workload, shape, ranks, megabits, calibration, alone)


def _blocks(shape: ModelShape, alone: float) -> list[Block]:
    """The model's parts: what a step takes alone is its layers' (a third of it forward)."""
    layer_seconds = alone / shape.layers
    gradients = tuple(float(BYTES * size) for size in tensors(shape))
    ends = BYTES * shape.vocabulary * shape.hidden
    norm = float(BYTES * shape.hidden)
    return [
        Block(0.0, 0.0, (float(ends),)),
        *[Block(layer_seconds / 3, layer_seconds * 2 / 3, gradients, sum(gradients))]
        * shape.layers,
        Block(0.0, 0.0, (norm, norm, float(ends))),
    ]


def _ddp(
    workload: Mapping[str, Any],
    shape: ModelShape,
    ranks: int,
    megabits: float,
    calibration: Calibration,
    alone: float,
) -> PredictedStep:
    blocks = _blocks(shape, alone)
    bucket = (
        workload["bucket_mb"] * MEBI
    )  # set explicitly, so PyTorch makes the first bucket as large
    network = calibration.network(ranks, megabits, paused=False)
    done = step_time.data_parallel(blocks, 1, ranks, network, 0.0, bucket, bucket)
    gradients = sum(sum(block.gradients) for block in blocks)
    return PredictedStep(done.seconds, alone, traffic.sent_bytes(traffic.data(gradients, ranks)))


def _fsdp(
    workload: Mapping[str, Any],
    shape: ModelShape,
    ranks: int,
    megabits: float,
    calibration: Calibration,
    alone: float,
) -> PredictedStep:
    blocks = _blocks(shape, alone)
    # The root holds embedding, last norm and head together, and gathers them once.
    root = sum(sum(block.gradients) for block in (blocks[0], blocks[-1]))
    layers = [block for block in blocks if block.weights]
    ends = Block(0.0, 0.0, (root,), root, kept=True)
    network = calibration.network(ranks, megabits, paused=True)
    done = step_time.fully_sharded([ends, *layers], 1, ranks, network, overlap=False)
    weights = sum(block.weights for block in layers)
    sent = traffic.sharded(weights, weights + root, ranks, 1, root)
    return PredictedStep(done.seconds, alone, _volume(sent, calibration))


def _pipeline(
    workload: Mapping[str, Any],
    shape: ModelShape,
    ranks: int,
    megabits: float,
    calibration: Calibration,
    alone: float,
) -> PredictedStep:
    layer_seconds = alone / shape.layers / shape.microbatches
    parts = [
        Stage(layer_seconds / 3 * len(layers), layer_seconds * 2 / 3 * len(layers))
        for layers in split_layers(shape.layers, ranks)
    ]
    activations = float(BYTES * shape.tokens // shape.microbatches * shape.hidden)
    network = calibration.network(ranks, megabits, paused=True)
    done = step_time.pipelined(parts, shape.microbatches, activations, network)
    quiet = step_time.pipelined(parts, shape.microbatches, 0.0, Network({ANY: FREE}))
    sent = traffic.pipeline(activations, ranks, shape.microbatches)
    return PredictedStep(done.seconds, quiet.seconds, traffic.sent_bytes(sent))


def _tensor(
    workload: Mapping[str, Any],
    shape: ModelShape,
    ranks: int,
    megabits: float,
    calibration: Calibration,
    alone: float,
) -> PredictedStep:
    activations = float(BYTES * shape.tokens * shape.hidden)
    sent = traffic.tensor(activations, shape.layers, ranks, 1)
    done = step_time.serial(alone, sent, calibration.network(ranks, megabits, paused=True))
    return PredictedStep(done.seconds, alone, traffic.sent_bytes(sent))


def _moe(
    workload: Mapping[str, Any],
    shape: ModelShape,
    ranks: int,
    megabits: float,
    calibration: Calibration,
    alone: float,
) -> PredictedStep:
    activations = float(BYTES * shape.tokens * shape.hidden)
    hidden = shape.hidden
    layer = 4 * hidden * hidden + 4 * hidden + shape.experts * hidden  # attention, norms, router
    shared = BYTES * (shape.layers * layer + 2 * shape.vocabulary * hidden + 2 * hidden)
    sent = traffic.expert(activations, shape.top_k, shape.layers, ranks, 1)
    # One all-reduce of all shared gradients after the backward pass (agent.bench.workloads.moe).
    sent += [Transfer("gradients", "all_reduce", ranks, float(shared), 1)]
    done = step_time.serial(alone, sent, calibration.network(ranks, megabits, paused=True))
    return PredictedStep(done.seconds, alone, traffic.sent_bytes(sent))


def _volume(sent: Sequence[Transfer], calibration: Calibration) -> float:
    return sum(
        transfer.sent * calibration.volume.get(transfer.collective, 1.0) for transfer in sent
    )


_PARTS = {"ddp": _ddp, "fsdp": _fsdp, "pipeline": _pipeline, "tensor": _tensor, "moe": _moe}
