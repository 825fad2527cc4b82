"""decode: one token at a time with tensor parallelism: 2 all-reduces for each layer and token.

The messages are small (batch x hidden), so latency dominates. Matrices are split as in tensor.py,
and each rank keeps the keys and values of its heads. Gradients do not exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.timing import time_repeats
from agent.bench.workloads import training
from agent.bench.workloads.comparison import StepResult, build_check, find_largest_error
from agent.bench.workloads.model import SEED, TransformerBlock, create_seeded
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, parse_pace

STATES_SEED = SEED + 2000
WHAT = "output of the last layer against the same layers unsplit"
#: Adds the other ranks' parts to a rank's part of a result, in place.
Sum = Callable[[Any], object]


class DecodingLayer:
    """The share of `rank` in a layer, and the keys and values of its heads."""

    def __init__(
        self,
        shape: ModelShape,
        number: int,
        rank: int,
        ranks: int,
        pace: LayerPace | None,
        like: Any,
    ) -> None:
        block = create_seeded(number, lambda: TransformerBlock(shape)).to(like.device, like.dtype)
        attention, network = block.attention, block.feed_forward
        self.norms = block.norm1, block.norm2
        self.head_size, self.pace = attention.head_size, pace

        def rows(linear: Any) -> Any:
            return linear.weight.detach().chunk(ranks)[rank].clone()

        def columns(linear: Any) -> Any:
            return linear.weight.detach().chunk(ranks, dim=1)[rank].clone()

        self.projections = [
            rows(projection) for projection in (attention.query, attention.key, attention.value)
        ]
        self.out, self.up, self.down = (
            columns(attention.out),
            rows(network.up),
            columns(network.down),
        )
        self.parameters = sum(parameter.numel() for parameter in block.parameters())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(STATES_SEED + number)
            size = (2, shape.batch, shape.heads, shape.sequence, self.head_size)
            keys, values = torch.randn(size).chunk(ranks, dim=2)[rank].to(like.device, like.dtype)
        self.keys, self.values = keys, values

    def decode(self, states: Any, add: Sum) -> Any:
        """Map a token's states (batch, hidden) to the same shape."""
        states = states + self._add_halves(self._attention, self.norms[0](states), add)
        return states + self._add_halves(self._network, self.norms[1](states), add)

    def _add_halves(self, half: Callable[[Any], Any], states: Any, add: Sum) -> Any:
        if self.pace is not None:
            time.sleep(self.pace.forward_seconds / 2)
            part = states.clone()
        else:
            part = half(states)
        add(part)
        return part

    def _attention(self, states: Any) -> Any:
        query, key, value = (
            functional.linear(states, projection).unflatten(-1, (-1, 1, self.head_size))
            for projection in self.projections
        )
        keys = torch.cat([self.keys, key], dim=2)
        values = torch.cat([self.values, value], dim=2)
        mixed = functional.scaled_dot_product_attention(query, keys, values)
        return functional.linear(mixed.flatten(1), self.out)

    def _network(self, states: Any) -> Any:
        return functional.linear(functional.gelu(functional.linear(states, self.up)), self.down)


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package; a step is one token of each sequence."""
    settings = training.WorkloadOptions.parse(comm, options)
    shape = settings.shape
    shape.must_divide(comm.size, "heads", "hidden", "feed_forward")
    pace = parse_pace(settings.compute)
    generator = torch.Generator().manual_seed(STATES_SEED)
    states = torch.randn(shape.batch, shape.hidden, generator=generator)
    states = states.to(comm.device, settings.dtype)
    layers = list(create_shares(comm, shape, comm.rank, comm.size, pace, states))

    def decode() -> Any:
        return decode_token(layers, states, dist.all_reduce)

    with torch.no_grad():
        states_of_all = decode()
        # Sleeping parts are equal on all ranks: their sum is the part times the number of ranks.
        idle = None if pace is None else LayerPace(0.0, 0.0)
        alone = decode_token(
            create_shares(comm, shape, 0, 1, idle, states),
            states,
            lambda part: None if pace is None else part.mul_(comm.size),
        )
        error = find_largest_error(
            StepResult(0.0, {"states": states_of_all}), StepResult(0.0, {"states": alone})
        )
        error = comm.find_worst(error)
        steps = time_repeats(
            comm, decode, warm_up=settings.warm_up, repeats=settings.steps, what="decode, token"
        )
    return training.build_entry(
        comm,
        settings,
        "decode",
        steps,
        shape.batch,
        sum(layer.parameters for layer in layers),
        build_check(WHAT, error, settings.dtype),
    )


def create_shares(
    comm: Communicator, shape: ModelShape, rank: int, ranks: int, pace: LayerPace | None, like: Any
) -> Iterator[DecodingLayer]:
    """Yield the share of `rank` in each layer, one at a time: the whole model may not fit."""
    for number in range(shape.layers):
        comm.progress.report_position(f"making layer {number + 1} of {shape.layers}")
        yield DecodingLayer(shape, number, rank, ranks, pace, like)


def decode_token(layers: Iterable[DecodingLayer], states: Any, add: Sum) -> Any:
    """Pass one token through all layers."""
    for layer in layers:
        states = layer.decode(states, add)
    return states
