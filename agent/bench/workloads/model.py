"""The model of all workloads: a decoder-only transformer, whole or a part of it.

Each layer's parameters come from a seed of its own, so that a part holds the same values as the
whole. Linear layers have no bias.
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
#: Makes a layer: (shape, its number) -> module of (batch, sequence, hidden) to the same.
LayerMaker = Callable[[ModelShape, int], nn.Module]
Made = TypeVar("Made", bound=nn.Module)


class Attention(nn.Module):
    """Causal self-attention. Of its heads there are as many as the projections have room for."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.head_size = shape.hidden // shape.heads
        self.query = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.key = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.value = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.out = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        query, key, value = (
            projected.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for projected in (self.query(states), self.key(states), self.value(states))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.hidden, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.hidden, bias=False)

    def forward(self, states: Any) -> Any:
        """(…, hidden) to the same."""
        return self.down(functional.gelu(self.up(states)))


class TransformerBlock(nn.Module):
    """A layer: attention and feed-forward, each behind a norm and around a residual."""

    def __init__(self, shape: ModelShape, feed_forward: nn.Module | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.hidden)
        self.attention = Attention(shape)
        self.norm2 = nn.LayerNorm(shape.hidden)
        self.feed_forward = feed_forward or FeedForward(shape)

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        states = states + self.attention(self.norm1(states))
        return states + self.feed_forward(self.norm2(states))


class Transformer(nn.Module):
    """Layers `numbers` of the model, with the embedding before the first, the head after the last.

    Tokens (batch, sequence) go into the first part, states of (batch, sequence, hidden) into the
    others; logits of (batch, sequence, vocabulary) come out of the last, states of the others.

    Values are made on the CPU, where they are the same for every kind of GPU, and go to `device` in
    `dtype` a layer at a time: the memory of a mining rig does not hold a model for each GPU.
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

        def placed(number: int, make: Callable[[], nn.Module], wanted: bool = True) -> Any:
            return seeded(number, make).to(device, dtype) if wanted else None

        self.embedding = placed(-1, lambda: nn.Embedding(shape.vocabulary, shape.hidden), first)
        self.layers = nn.ModuleDict()
        for number in numbers:
            self.layers[str(number)] = placed(number, partial(make_layer, shape, number))
        self.norm = placed(-3, lambda: nn.LayerNorm(shape.hidden), last)
        self.head = placed(
            -2, lambda: nn.Linear(shape.hidden, shape.vocabulary, bias=False), last
        )  # fmt: skip

    def forward(self, states: Any) -> Any:
        """See the class."""
        if self.embedding is not None:
            states = self.embedding(states)
        for layer in self.layers.values():
            states = layer(states)
        return states if self.norm is None else self.head(self.norm(states))


def seeded(number: int, make: Callable[[], Made]) -> Made:
    """What is made, with values that depend on its number alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + number)
        return make()


def plain_layer(shape: ModelShape, number: int) -> nn.Module:
    """A layer that computes."""
    return TransformerBlock(shape)


def make_batch(shape: ModelShape, number: int = 0) -> tuple[Any, Any]:
    """Tokens and targets of data-parallel rank `number`, (batch, sequence) each, on the CPU."""
    generator = torch.Generator().manual_seed(SEED + 1000 + number)
    size = (2, shape.batch, shape.sequence)
    tokens, targets = torch.randint(shape.vocabulary, size, generator=generator)
    return tokens, targets


def compute_loss(logits: Any, targets: Any) -> Any:
    """Mean cross entropy, computed in float32."""
    return functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


def count_parameters(model: nn.Module) -> int:
    """How many parameters the model holds."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_model_parameters(shape: ModelShape) -> int:
    """How many the whole model has, without any memory for them."""
    with torch.device("meta"):
        return count_parameters(Transformer(shape, plain_layer))
