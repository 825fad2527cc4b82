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

from agent.bench.workloads import training
from agent.bench.workloads.asleep import Pace, pace_of
from agent.bench.workloads.check import Outcome, unsplit
from agent.bench.workloads.model import Block, LayerMaker, loss_of
from agent.bench.workloads.routing import Experts, SleepingExpertLayer
from agent.bench.workloads.shape import Shape
from agent.bench.world import World

EXPERT = ".experts."  # in the names of experts' parameters


def run(world: World, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package. Raises UnusableError where experts can't be split evenly."""
    setting = training.Setting.of(world, options)
    setting.shape.must_divide(world.size, "experts")
    pace = pace_of(setting.compute, world.rank + 1)
    make_layer = layer_maker(pace, world.rank, world.size)
    split = training.model_of(world, setting, make_layer)
    ((tokens, targets),) = training.batches(world, setting, [world.rank])

    def step() -> Any:
        loss = loss_of(split(tokens), targets)
        loss.backward()
        average(split, world.size)
        return loss

    def expected() -> Outcome:
        still = None if pace is None else Pace(0.0, 0.0, training.sleeping_gradient(world.size))
        whole = training.model_of(world, setting, layer_maker(still))
        replay(world, split, whole)
        return unsplit(whole, training.batches(world, setting, range(world.size)))

    own = {name: one.numel() for name, one in split.named_parameters()}
    of_experts = sum(count for name, count in own.items() if EXPERT in name)
    return training.train(
        world, setting, "moe",
        parts=split,
        step=step,
        expected=expected,
        tokens=setting.shape.tokens * world.size,
        parameters=sum(own.values()) - of_experts + world.total(of_experts),
        compared=lambda name: setting.real or EXPERT not in name,
    )  # fmt: skip


def layer_maker(pace: Pace | None, rank: int = 0, ranks: int = 1) -> LayerMaker:
    """Makes layers with this rank's experts; without ranks, with all of them."""

    def make(shape: Shape, number: int) -> nn.Module:
        experts = Experts(shape, rank, ranks)
        return Block(shape, experts) if pace is None else SleepingExpertLayer(shape, pace, experts)

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


def replay(world: World, split: nn.Module, whole: nn.Module) -> None:
    """Let the unsplit model choose what the split one chose, batch by batch."""
    layers = [module for module in split.modules() if isinstance(module, Experts)]
    by_rank = world.gather([layer.chosen for layer in layers])
    for number, layer in enumerate(one for one in whole.modules() if isinstance(one, Experts)):
        layer.replay = [entry for chosen in by_rank for entry in chosen[number]]
    for layer in layers:
        layer.recording, layer.chosen = False, []
