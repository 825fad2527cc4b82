"""A mixture of experts: how tokens reach their experts and return.

Each rank has an equal share of a layer's experts, in order. Tokens are sorted by expert, sent with
an all-to-all, computed, returned with another one, and added with the router's weights; backward
has the same two all-to-alls. A small all-to-all before announces the numbers of tokens.
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
    """all_to_all_single with gradients. sent, received: rows to and from each rank."""

    @staticmethod
    def forward(context: Any, rows: Any, sent: list[int], received: list[int]) -> Any:
        """Map rows (sum of sent, hidden) to (sum of received, hidden)."""
        context.splits = sent, received
        return _exchange(rows, sent, received)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        """Return the gradients to their ranks."""
        sent, received = context.splits
        return _exchange(gradients[0], received, sent), None, None


def _exchange(rows: Any, sent: list[int], received: list[int]) -> Any:
    result = rows.new_empty((sum(received), *rows.shape[1:]))
    dist.all_to_all_single(result, rows.contiguous(), received, sent)
    return result


class Experts(nn.Module):
    """Replaces a layer's feed-forward network; has the share of `rank` among `ranks`.

    chosen: the experts of the tokens, an entry (tokens, top_k) for each forward, while `recording`.
    replay: entries that replace the choice, in turn, because rounding differs between a split and
    an unsplit model and could change it.
    """

    def __init__(self, shape: ModelShape, rank: int = 0, ranks: int = 1) -> None:
        super().__init__()
        self.count, self.top_k, self.ranks = shape.experts, shape.top_k, ranks
        share = shape.experts // ranks
        self.router = nn.Linear(shape.hidden, shape.experts, bias=False)
        # All are created, so that the values of an expert do not depend on its rank.
        experts = [FeedForward(shape) for _ in range(shape.experts)]
        local = range(rank * share, (rank + 1) * share)
        self.experts = nn.ModuleDict({str(number): experts[number] for number in local})
        self.recording = True
        self.chosen: list[Any] = []
        self.replay: list[Any] = []

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        scores = self.router(states.flatten(0, -2)).float().softmax(-1)
        if self.replay:
            chosen = self.replay.pop(0).to(states.device)
        else:
            chosen = scores.topk(self.top_k, dim=-1).indices
        if self.recording:
            self.chosen.append(chosen.cpu())
        weights = scores.gather(-1, chosen)
        weights = (weights / weights.sum(-1, keepdim=True)).to(states.dtype)
        return self.route(states, chosen, weights, list(self.experts.values()))

    def route(
        self,
        states: Any,
        chosen: Any,
        weights: Any,
        experts: Sequence[Callable[[Any], Any]],
    ) -> Any:
        """Return each token's results, added by weight. chosen, weights: (tokens, top_k)."""
        tokens = states.flatten(0, -2)
        order = chosen.flatten().argsort(stable=True)
        rows = tokens[order // self.top_k]
        counts = chosen.flatten().bincount(minlength=self.count)
        # came: numbers of tokens by source rank and local expert.
        if self.ranks > 1:
            arriving = torch.empty_like(counts)
            dist.all_to_all_single(arriving, counts)
            sent = counts.view(self.ranks, -1).sum(1).tolist()
            came = arriving.view(self.ranks, -1).tolist()
            received = [sum(row) for row in came]
            rows = Exchange.apply(rows, sent, received)
        else:
            came = [counts.tolist()]
        rows = apply_experts(rows, came, experts)
        if self.ranks > 1:
            rows = Exchange.apply(rows, received, sent)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        parts = rows[back].view(*chosen.shape, -1)
        return (parts * weights.unsqueeze(-1)).sum(1).view_as(states)


def apply_experts(
    rows: Any, came: Sequence[Sequence[int]], experts: Sequence[Callable[[Any], Any]]
) -> Any:
    """Return the experts' results for rows sorted by rank and expert, in the same order."""
    pieces = rows.split([count for row in came for count in row])
    results: list[Any] = [None] * len(pieces)
    for number, expert in enumerate(experts):
        places = range(number, len(pieces), len(experts))
        together = expert(torch.cat([pieces[place] for place in places]))
        counts = [len(pieces[place]) for place in places]
        for place, piece in zip(places, together.split(counts), strict=True):
            results[place] = piece
    return torch.cat(results)


class SleepingExpertLayer(nn.Module):
    """A layer that sleeps, with the all-to-alls of a real layer; each expert gets as many tokens.

    Experts return tokens unchanged, so the output is the input.
    """

    def __init__(self, shape: ModelShape, pace: LayerPace, experts: Experts) -> None:
        super().__init__()
        self.layer = TransformerBlock(shape, experts)
        self.experts = experts
        self.pace = pace

    def forward(self, states: Any) -> Any:
        """Map (batch, sequence, hidden) to the same shape."""
        states = Sleep.apply(states, self.pace, *self.layer.parameters())
        count, top_k = self.experts.count, self.experts.top_k
        tokens = states.shape[:-1].numel()
        chosen = torch.arange(tokens * top_k, device=states.device).view(tokens, top_k) % count
        weights = torch.full(chosen.shape, 1 / top_k, dtype=states.dtype, device=states.device)
        unchanged = [_return_unchanged] * len(self.experts.experts)
        return self.experts.route(states, chosen, weights, unchanged)


def _return_unchanged(rows: Any) -> Any:
    return rows
