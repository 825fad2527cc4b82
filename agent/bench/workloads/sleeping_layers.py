"""Layers that sleep instead of computing, so that only communication takes resources.

A sleeping layer has the parameters of a real one. Forward sleeps and returns its input; backward
sleeps, returns the gradient, and gives every parameter a gradient of known value, so that
data-parallel means can be checked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from agent.bench.errors import UnusableError
from agent.bench.workloads.model import LayerMaker, TransformerBlock, create_layer
from agent.bench.workloads.shape import ModelShape


@dataclass(frozen=True)
class LayerPace:
    """Seconds that each layer sleeps in forward and in backward, for each microbatch.

    gradient: the value of every parameter's gradient.
    """

    forward_seconds: float
    backward_seconds: float
    gradient: float = 1.0

    def scale(self, share: float) -> LayerPace:
        """Return the pace of a part of a layer."""
        return LayerPace(self.forward_seconds * share, self.backward_seconds * share, self.gradient)


def parse_pace(compute: Any, gradient: float = 1.0) -> LayerPace | None:
    """Return the pace of a job's "compute"; None if it is "real". Raises UnusableError."""
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
    """Sleeps in forward and backward."""

    @staticmethod
    def forward(context: Any, states: Any, pace: LayerPace, *parameters: Any) -> Any:
        """Return the states."""
        context.pace = pace
        context.like = [(item.shape, item.dtype, item.device) for item in parameters]
        time.sleep(pace.forward_seconds)
        return states.clone()  # a view would lose FSDP's hook

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        """Return the gradient, and one of known value for each parameter."""
        time.sleep(context.pace.backward_seconds)
        value = context.pace.gradient
        gradients_of_parameters = [
            torch.full(size, value, dtype=dtype, device=device)
            for size, dtype, device in context.like
        ]
        return gradients[0], None, *gradients_of_parameters


class SleepingLayer(nn.Module):
    """Sleeps in place of the layer whose parameters it has."""

    def __init__(self, layer: nn.Module, pace: LayerPace) -> None:
        super().__init__()
        self.layer = layer
        self.pace = pace

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        return Sleep.apply(states, self.pace, *self.layer.parameters())


def create_sleeping_layer(shape: ModelShape, pace: LayerPace) -> nn.Module:
    """Return a whole layer that sleeps."""
    return SleepingLayer(TransformerBlock(shape), pace)


def layer_maker(compute: Any, gradient: float = 1.0) -> LayerMaker:
    """Return what creates layers for a job's "compute": layers that compute or sleep."""
    pace = parse_pace(compute, gradient)
    if pace is None:
        return create_layer
    return lambda shape, number: create_sleeping_layer(shape, pace)
