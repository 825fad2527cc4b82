"""moe: mixture of experts, which are spread over the ranks: 4 all-to-alls a layer.

A router sends each token to top_k experts (Lepikhin et al., GShard, arXiv 2006.16668). All else is
data parallel; its gradients are averaged by one all-reduce after backward, unlike ddp's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from agent.bench.communicator import Communicator
from agent.bench.workloads import training
from agent.bench.workloads.comparison import StepResult, unsplit
from agent.bench.workloads.model import LayerMaker, TransformerBlock, compute_loss
from agent.bench.workloads.routing import Experts, SleepingExpertLayer
from agent.bench.workloads.shape import ModelShape
from agent.bench.workloads.sleeping_layers import LayerPace, parse_pace

EXPERT = ".experts."  # in the names of experts' parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package. Raises UnusableError where experts can't be split evenly."""
    setting = training.WorkloadOptions.of(comm, options)
    setting.shape.must_divide(comm.size, "experts")
    pace = parse_pace(setting.compute, comm.rank + 1)
    make_layer = layer_maker(pace, comm.rank, comm.size)
    split = training.build_model(comm, setting, make_layer)
    ((tokens, targets),) = training.batches(comm, setting, [comm.rank])

    def step() -> Any:
        loss = compute_loss(split(tokens), targets)
        loss.backward()
        average(split, comm.size)
        return loss

    def expected() -> StepResult:
        still = None if pace is None else LayerPace(0.0, 0.0, training.sleeping_gradient(comm.size))
        whole = training.build_model(comm, setting, layer_maker(still))
        replay(comm, split, whole)
        return unsplit(whole, training.batches(comm, setting, range(comm.size)))

    own = {name: one.numel() for name, one in split.named_parameters()}
    of_experts = sum(count for name, count in own.items() if EXPERT in name)
    return training.train(
        comm, setting, "moe",
        parts=split,
        step=step,
        expected=expected,
        tokens=setting.shape.tokens * comm.size,
        parameters=sum(own.values()) - of_experts + comm.total(of_experts),
        compared=lambda name: setting.real or EXPERT not in name,
    )  # fmt: skip


def layer_maker(pace: LayerPace | None, rank: int = 0, ranks: int = 1) -> LayerMaker:
    """Makes layers with this rank's experts; without ranks, with all of them."""

    def make(shape: ModelShape, number: int) -> nn.Module:
        experts = Experts(shape, rank, ranks)
        return (
            TransformerBlock(shape, experts)
            if pace is None
            else SleepingExpertLayer(shape, pace, experts)
        )

    return make


def average(split: nn.Module, ranks: int) -> None:
    """Gradients as means over all ranks' tokens. Experts have seen all of theirs already."""
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
    """Let the unsplit model choose what the split one chose, batch by batch."""
    layers = [module for module in split.modules() if isinstance(module, Experts)]
    by_rank = comm.gather([layer.chosen for layer in layers])
    for number, layer in enumerate(one for one in whole.modules() if isinstance(one, Experts)):
        layer.replay = [entry for chosen in by_rank for entry in chosen[number]]
    for layer in layers:
        layer.recording, layer.chosen = False, []
