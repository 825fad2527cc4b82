"""A mixture of experts: which expert a token goes to, and the way there and back.

Of `experts` in a layer each rank holds an equal share, in order. Tokens are sorted by expert, sent
by an all-to-all, computed, sent back by another, and added with the router's weights; backward has
the same two all-to-alls. A small one before tells how many tokens come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from agent.bench.workloads.model import FeedForward, TransformerBlock
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, Sleep


class Exchange(torch.autograd.Function):
    """all_to_all_single with gradients: rows go to ranks by `sent`, and come by `received`."""

    @staticmethod
    def forward(context: Any, rows: Any, sent: list[int], received: list[int]) -> Any:
        """Rows of shape (sum of sent, hidden) to (sum of received, hidden)."""
        context.splits = sent, received
        return _exchange(rows, sent, received)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        """The way back."""
        sent, received = context.splits
        return _exchange(gradients[0], received, sent), None, None


def _exchange(rows: Any, sent: list[int], received: list[int]) -> Any:
    result = rows.new_empty((sum(received), *rows.shape[1:]))
    dist.all_to_all_single(result, rows.contiguous(), received, sent)
    return result


class Experts(nn.Module):
    """In place of a layer's feed-forward network; holds the share of `rank` among `ranks`.

    chosen: the experts that tokens went to, an entry (tokens, top_k) a forward, while `recording`.
    replay: entries that are used, in turn, instead of choosing: so that rounding, which differs
    between a split and an unsplit model, can't send a token elsewhere in one of them.
    """

    def __init__(self, shape: ModelShape, rank: int = 0, ranks: int = 1) -> None:
        super().__init__()
        self.count, self.top_k, self.ranks = shape.experts, shape.top_k, ranks
        share = shape.experts // ranks
        self.router = nn.Linear(shape.hidden, shape.experts, bias=False)
        # All are made, so that each has the same values wherever it is.
        made = [FeedForward(shape) for _ in range(shape.experts)]
        own = range(rank * share, (rank + 1) * share)
        self.experts = nn.ModuleDict({str(number): made[number] for number in own})
        self.recording = True
        self.chosen: list[Any] = []
        self.replay: list[Any] = []

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        scores = self.router(states.flatten(0, -2)).float().softmax(-1)
        if self.replay:
            chosen = self.replay.pop(0).to(states.device)
        else:
            chosen = scores.topk(self.top_k, dim=-1).indices
        if self.recording:
            self.chosen.append(chosen.cpu())
        weights = scores.gather(-1, chosen)
        weights = (weights / weights.sum(-1, keepdim=True)).to(states.dtype)
        return self.routed(states, chosen, weights, list(self.experts.values()))

    def routed(
        self,
        states: Any,
        chosen: Any,
        weights: Any,
        experts: Sequence[Callable[[Any], Any]],
    ) -> Any:
        """Each token through its experts, added by weight; chosen, weights: (tokens, top_k)."""
        tokens = states.flatten(0, -2)
        order = chosen.flatten().argsort(stable=True)
        rows = tokens[order // self.top_k]
        counts = chosen.flatten().bincount(minlength=self.count)
        # came: tokens by rank that they come from, and own expert.
        if self.ranks > 1:
            arriving = torch.empty_like(counts)
            dist.all_to_all_single(arriving, counts)
            sent = counts.view(self.ranks, -1).sum(1).tolist()
            came = arriving.view(self.ranks, -1).tolist()
            received = [sum(row) for row in came]
            rows = Exchange.apply(rows, sent, received)
        else:
            came = [counts.tolist()]
        rows = through(rows, came, experts)
        if self.ranks > 1:
            rows = Exchange.apply(rows, received, sent)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        parts = rows[back].view(*chosen.shape, -1)
        return (parts * weights.unsqueeze(-1)).sum(1).view_as(states)


def through(
    rows: Any, came: Sequence[Sequence[int]], experts: Sequence[Callable[[Any], Any]]
) -> Any:
    """Rows, sorted by rank and then by expert, each through its expert; in the same order."""
    pieces = rows.split([count for row in came for count in row])
    results: list[Any] = [None] * len(pieces)
    for number, expert in enumerate(experts):
        own = range(number, len(pieces), len(experts))
        together = expert(torch.cat([pieces[place] for place in own]))
        counts = [len(pieces[place]) for place in own]
        for place, piece in zip(own, together.split(counts), strict=True):
            results[place] = piece
    return torch.cat(results)


class SleepingExpertLayer(nn.Module):
    """A layer that sleeps, with the all-to-alls of one that computes; its experts get equal shares.

    Experts hand tokens on as they are: what comes out is what went in.
    """

    def __init__(self, shape: ModelShape, pace: LayerPace, experts: Experts) -> None:
        super().__init__()
        self.layer = TransformerBlock(shape, experts)
        self.experts = experts
        self.pace = pace

    def forward(self, states: Any) -> Any:
        """(batch, sequence, hidden) to the same."""
        states = Sleep.apply(states, self.pace, *self.layer.parameters())
        count, top_k = self.experts.count, self.experts.top_k
        tokens = states.shape[:-1].numel()
        chosen = torch.arange(tokens * top_k, device=states.device).view(tokens, top_k) % count
        weights = torch.full(chosen.shape, 1 / top_k, dtype=states.dtype, device=states.device)
        as_they_are = [_same] * len(self.experts.experts)
        return self.experts.routed(states, chosen, weights, as_they_are)


def _same(rows: Any) -> Any:
    return rows
