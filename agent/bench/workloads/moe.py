"""moe: mixture of experts, distributed over the ranks: 4 all-to-alls a layer.

A router sends each token to top_k experts (Lepikhin et al., GShard, arXiv 2006.16668). Everything
else is data parallel; unlike in ddp, one all-reduce after backward averages the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.workloads import training
from agent.bench.workloads.comparison import StepResult, run_unsplit
from agent.bench.workloads.model import LayerMaker, TransformerBlock, compute_loss
from agent.bench.workloads.routing import Experts, SleepingExpertLayer
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, parse_pace

EXPERT = ".experts."  # in the names of experts' parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package.

    Raises UnusableError if experts cannot be split evenly.
    """
    settings = training.WorkloadOptions.parse(comm, options)
    settings.shape.must_divide(comm.size, "experts")
    pace = parse_pace(settings.compute, comm.rank + 1)
    make_layer = layer_maker(pace, comm.rank, comm.size)
    split = training.build_model(comm, settings, make_layer)
    ((tokens, targets),) = training.make_batches(comm, settings, [comm.rank])

    def step() -> Any:
        loss = compute_loss(split(tokens), targets)
        loss.backward()
        average(split, comm.size)
        return loss

    def expected() -> StepResult:
        idle = None if pace is None else LayerPace(0.0, 0.0, training.sleeping_gradient(comm.size))
        whole = training.build_model(comm, settings, layer_maker(idle))
        replay(comm, split, whole)
        return run_unsplit(whole, training.make_batches(comm, settings, range(comm.size)))

    counts = {name: parameter.numel() for name, parameter in split.named_parameters()}
    of_experts = sum(count for name, count in counts.items() if EXPERT in name)
    return training.train(
        comm,
        settings,
        "moe",
        parts=split,
        step=step,
        expected=expected,
        tokens=settings.shape.tokens * comm.size,
        parameters=sum(counts.values()) - of_experts + comm.sum_counts(of_experts),
        compared=lambda name: settings.is_real or EXPERT not in name,
    )


def layer_maker(pace: LayerPace | None, rank: int = 0, ranks: int = 1) -> LayerMaker:
    """Return what creates layers with this rank's experts, or with all of them by default."""

    def create(shape: ModelShape, number: int) -> nn.Module:
        experts = Experts(shape, rank, ranks)
        return (
            TransformerBlock(shape, experts)
            if pace is None
            else SleepingExpertLayer(shape, pace, experts)
        )

    return create


def average(split: nn.Module, ranks: int) -> None:
    """Average gradients over all ranks' tokens. Experts have already processed all of theirs."""
    shared = []
    for name, parameter in split.named_parameters():
        if EXPERT in name:
            if parameter.grad is not None:
                parameter.grad /= ranks
        else:
            shared.append(parameter.grad)
    flat = torch.cat([gradient.flatten() for gradient in shared])
    dist.all_reduce(flat)
    flat /= ranks
    pieces = flat.split([gradient.numel() for gradient in shared])
    for gradient, piece in zip(shared, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def replay(comm: Communicator, split: nn.Module, whole: nn.Module) -> None:
    """Make the unsplit model choose the same experts as the split one, batch by batch."""
    layers = [module for module in split.modules() if isinstance(module, Experts)]
    by_rank = comm.gather([layer.chosen for layer in layers])
    for number, layer in enumerate(item for item in whole.modules() if isinstance(item, Experts)):
        layer.replay = [entry for chosen in by_rank for entry in chosen[number]]
    for layer in layers:
        layer.recording, layer.chosen = False, []
