"""Layers that sleep instead of computing: communication alone is real.

A sleeping layer holds the parameters that it would compute with. Its forward sleeps and hands its
input on; its backward sleeps, hands the gradient on, and gives every parameter a gradient of a
value that is known: so data-parallel means can be checked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from agent.bench.errors import UnusableError
from agent.bench.workloads.model import LayerMaker, TransformerBlock, plain_layer
from agent.bench.workloads.shape import ModelShape


@dataclass(frozen=True)
class LayerPace:
    """Seconds that each layer sleeps in its forward and in its backward, for each microbatch.

    gradient: the value of every parameter's gradient.
    """

    forward_seconds: float
    backward_seconds: float
    gradient: float = 1.0

    def part(self, share: float) -> LayerPace:
        """For a part of a layer."""
        return LayerPace(self.forward_seconds * share, self.backward_seconds * share, self.gradient)


def parse_pace(compute: Any, gradient: float = 1.0) -> LayerPace | None:
    """From a job's "compute"; None where it is "real". Raises UnusableError."""
    if compute == "real":
        return None
    try:
        return LayerPace(
            float(compute["forward_seconds"]), float(compute["backward_seconds"]), gradient
        )
    except (TypeError, KeyError, ValueError):
        raise UnusableError(
            f"compute is {compute!r}",
            'It is "real", or {"forward_seconds": …, "backward_seconds": …} of a layer.',
        ) from None


class Sleep(torch.autograd.Function):
    """Sleeps in forward and backward; see above."""

    @staticmethod
    def forward(context: Any, states: Any, pace: LayerPace, *parameters: Any) -> Any:
        """The states as they are."""
        context.pace = pace
        context.like = [(one.shape, one.dtype, one.device) for one in parameters]
        time.sleep(pace.forward_seconds)
        return states.clone()  # a view would lose the hook that FSDP puts on it

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        """The gradient as it is, and one of known value for each parameter."""
        time.sleep(context.pace.backward_seconds)
        value = context.pace.gradient
        own = [
            torch.full(size, value, dtype=dtype, device=device)
            for size, dtype, device in context.like
        ]
        return gradients[0], None, *own


class SleepingLayer(nn.Module):
    """Sleeps in place of the layer whose parameters it holds."""

    def __init__(self, layer: nn.Module, pace: LayerPace) -> None:
        super().__init__()
        self.layer = layer
        self.pace = pace

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        return Sleep.apply(states, self.pace, *self.layer.parameters())


def sleeping_layer(shape: ModelShape, pace: LayerPace) -> nn.Module:
    """A whole layer, as model.plain_layer makes it."""
    return SleepingLayer(TransformerBlock(shape), pace)


def layer_maker(compute: Any, gradient: float = 1.0) -> LayerMaker:
    """Makes layers that compute, or that sleep, as the job's "compute" says."""
    pace = parse_pace(compute, gradient)
    if pace is None:
        return plain_layer
    return lambda shape, number: sleeping_layer(shape, pace)
