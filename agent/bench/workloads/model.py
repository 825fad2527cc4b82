"""The model of all workloads: a decoder-only transformer, or some of its layers.

Each layer has a separate seed, so that a part of the model has the same values as the whole model.
Linear layers have no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

from agent.bench.workloads.shape import ModelShape

SEED = 20_26
#: Creates a layer: (shape, its number) -> a module that keeps the shape (batch, sequence, hidden).
LayerMaker = Callable[[ModelShape, int], nn.Module]
Module = TypeVar("Module", bound=nn.Module)


class Attention(nn.Module):
    """Causal self-attention. The size of the projections determines the number of heads."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.head_size = shape.hidden // shape.heads
        self.query = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.key = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.value = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        query, key, value = (
            projected.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for projected in (self.query(states), self.key(states), self.value(states))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, states: Any) -> Any:
        """Map (…, hidden) to the same shape."""
        return self.down(functional.gelu(self.up(states)))


class TransformerBlock(nn.Module):
    """A layer: attention and feed-forward network, each with a norm and a residual connection."""

    def __init__(self, shape: ModelShape, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.hidden)
        self.attention = Attention(shape)
        self.norm2 = nn.LayerNorm(shape.hidden)
        self.feed_forward = feed_forward or FeedForward(shape)

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        states = states + self.attention(self.norm1(states))
        return states + self.feed_forward(self.norm2(states))


class Transformer(nn.Module):
    """Layers `numbers` of the model; the first has the embedding, the last has the head.

    The first part takes tokens (batch, sequence), the others states (batch, sequence, hidden). The
    last part returns logits (batch, sequence, vocabulary), the others states.

    Values are computed on the CPU, so that they do not depend on the GPU, and moved to `device` as
    `dtype` one layer at a time: the memory of a mining rig cannot hold a model for each GPU.
    """

    def __init__(
        self,
        shape: ModelShape,
        make_layer: LayerMaker,
        numbers: Iterable[int] | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        numbers = list(range(shape.layers) if numbers is None else numbers)
        first, last = 0 in numbers, shape.layers - 1 in numbers

        def place(number: int, create: Callable[[], nn.Module], is_used: bool = True) -> Any:
            return create_seeded(number, create).to(device, dtype) if is_used else None

        self.embedding = place(-1, lambda: nn.Embedding(shape.vocabulary, shape.hidden), first)
        self.layers = nn.ModuleDict()
        for number in numbers:
            self.layers[str(number)] = place(number, partial(make_layer, shape, number))
        self.norm = place(-3, lambda: nn.LayerNorm(shape.hidden), last)
        self.head = place(-2, lambda: nn.Linear(shape.hidden, shape.vocabulary, bias=False), last)

    def forward(self, states: Any) -> Any:
        """Map tokens or states as the class describes."""
        if self.embedding is not None:
            states = self.embedding(states)
        for layer in self.layers.values():
            states = layer(states)
        return states if self.norm is None else self.head(self.norm(states))


def create_seeded(number: int, create: Callable[[], Module]) -> Module:
    """Create a module whose values depend on its number only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + number)
        return create()


def create_layer(shape: ModelShape, number: int) -> nn.Module:
    """Return a layer that computes."""
    return TransformerBlock(shape)


def make_batch(shape: ModelShape, number: int = 0) -> tuple[Any, Any]:
    """Return tokens and targets of rank `number`: each (batch, sequence), on the CPU."""
    generator = torch.Generator().manual_seed(SEED + 1000 + number)
    size = (2, shape.batch, shape.sequence)
    tokens, targets = torch.randint(shape.vocabulary, size, generator=generator)
    return tokens, targets


def compute_loss(logits: Any, targets: Any) -> Any:
    """Return the mean cross entropy, computed in float32."""
    return functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def count_parameters(model: nn.Module) -> int:
    """Count the parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_model_parameters(shape: ModelShape) -> int:
    """Count the parameters of the whole model, without allocating them."""
    with torch.device("meta"):
        return count_parameters(Transformer(shape, create_layer))
