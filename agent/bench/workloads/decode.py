"""decode: one token at a time by tensor parallelism: 2 all-reduces a layer a token.

The messages are small (batch x hidden), so what counts is latency. Matrices are split as in
tensor.py, and each rank keeps the keys and values of its heads; no gradients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional

from agent.bench.communicator import Communicator
from agent.bench.timing import time_repeats
from agent.bench.workloads import training
from agent.bench.workloads.comparison import StepResult, largest_error, verdict
from agent.bench.workloads.model import SEED, TransformerBlock, seeded
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, parse_pace

STATES_SEED = SEED + 2000
WHAT = "what the last layer gives against the same layers unsplit"
#: Sums a rank's part of a result with the others', in place.
Sum = Callable[[Any], object]


class DecodingLayer:
    """A layer's share of `rank` among `ranks`, and its heads' keys and values so far."""

    def __init__(
        self,
        shape: ModelShape,
        number: int,
        rank: int,
        ranks: int,
        pace: LayerPace | None,
        like: Any,
    ) -> None:
        block = seeded(number, lambda: TransformerBlock(shape)).to(like.device, like.dtype)
        attention, network = block.attention, block.feed_forward
        self.norms = block.norm1, block.norm2
        self.head_size, self.pace = attention.head_size, pace

        def rows(linear: Any) -> Any:
            return linear.weight.detach().chunk(ranks)[rank].clone()

        def columns(linear: Any) -> Any:
            return linear.weight.detach().chunk(ranks, dim=1)[rank].clone()

        self.projections = [rows(one) for one in (attention.query, attention.key, attention.value)]
        self.out, self.up, self.down = (
            columns(attention.out),
            rows(network.up),
            columns(network.down),
        )
        self.parameters = sum(one.numel() for one in block.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(STATES_SEED + number)
            size = (2, shape.batch, shape.heads, shape.sequence, self.head_size)
            keys, values = torch.randn(size).chunk(ranks, dim=2)[rank].to(like.device, like.dtype)
        self.keys, self.values = keys, values

    def token(self, states: Any, add: Sum) -> Any:
        """(batch, hidden) to the same, after the tokens that are there."""
        states = states + self._summed(self._attention, self.norms[0](states), add)
        return states + self._summed(self._network, self.norms[1](states), add)

    def _summed(self, half: Callable[[Any], Any], states: Any, add: Sum) -> Any:
        if self.pace is not None:
            time.sleep(self.pace.forward_seconds / 2)
            part = states.clone()
        else:
            part = half(states)
        add(part)
        return part

    def _attention(self, states: Any) -> Any:
        query, key, value = (
            functional.linear(states, one).unflatten(-1, (-1, 1, self.head_size))
            for one in self.projections
        )
        keys = torch.cat([self.keys, key], dim=2)
        values = torch.cat([self.values, value], dim=2)
        mixed = functional.scaled_dot_product_attention(query, keys, values)
        return functional.linear(mixed.flatten(1), self.out)

    def _network(self, states: Any) -> Any:
        return functional.linear(functional.gelu(functional.linear(states, self.up)), self.down)


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package; a step is a token of each of `batch` sequences."""
    setting = training.WorkloadOptions.of(comm, options)
    shape = setting.shape
    shape.must_divide(comm.size, "heads", "hidden", "feed_forward")
    pace = parse_pace(setting.compute)
    generator = torch.Generator().manual_seed(STATES_SEED)
    states = torch.randn(shape.batch, shape.hidden, generator=generator)
    states = states.to(comm.device, setting.dtype)
    layers = list(shares(comm, shape, comm.rank, comm.size, pace, states))

    def decode() -> Any:
        return through(layers, states, dist.all_reduce)

    with torch.no_grad():
        found = decode()
        # Parts that sleep are not computed, and all alike: their sum is so many times as much.
        still = None if pace is None else LayerPace(0.0, 0.0)
        alone = through(shares(comm, shape, 0, 1, still, states), states, lambda part: (
            None if pace is None else part.mul_(comm.size)
        ))  # fmt: skip
        error = largest_error(
            StepResult(0.0, {"states": found}), StepResult(0.0, {"states": alone})
        )
        error = comm.worst(error)
        steps = time_repeats(
            comm, decode, warm_up=setting.warm_up, repeats=setting.steps, what="decode, token"
        )
    return training.entry(
        comm, setting, "decode", steps, shape.batch,
        sum(layer.parameters for layer in layers), verdict(WHAT, error, setting.dtype),
    )  # fmt: skip


def shares(
    comm: Communicator, shape: ModelShape, rank: int, ranks: int, pace: LayerPace | None, like: Any
) -> Iterator[DecodingLayer]:
    """The share of `rank` in each layer, made when it is its turn: the whole need not fit."""
    for number in range(shape.layers):
        comm.progress.at(f"making layer {number + 1} of {shape.layers}")
        yield DecodingLayer(shape, number, rank, ranks, pace, like)


def through(layers: Iterable[DecodingLayer], states: Any, add: Sum) -> Any:
    """One token through all layers."""
    for layer in layers:
        states = layer.token(states, add)
    return states
