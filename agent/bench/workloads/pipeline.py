"""pipeline: each rank has some layers; microbatches go through them one forward, one backward.

PyTorch's Schedule1F1B. Narayanan et al., Megatron-LM (arXiv 2104.04473).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from agent.bench.errors import UnusableError
from agent.bench.workloads import training
from agent.bench.workloads.model import count_parameters, loss_of
from agent.bench.workloads.shape import split_layers
from agent.bench.world import World


def run(world: World, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package. Raises UnusableError for too few layers, or an uneven batch."""
    setting = training.Setting.of(world, options)
    shape = setting.shape
    if shape.layers < world.size:
        raise UnusableError(
            f"{shape.layers} layers are too few for {world.size} stages", "Each needs one."
        )
    shape.must_divide(shape.microbatches, "batch")
    own = split_layers(shape.layers, world.size)[world.rank]
    part = training.model_of(world, setting, setting.layers(), own)
    world.connect()
    stage = PipelineStage(part, world.rank, world.size, world.device)
    schedule = Schedule1F1B(stage, shape.microbatches, loss_fn=loss_of)
    ((tokens, targets),) = training.batches(world, setting, [0])
    return training.train(
        world, setting, "pipeline",
        parts=part,
        step=lambda: scheduled(schedule, stage, tokens, targets),
        expected=lambda: training.expectation(
            world, setting, [0], setting.unsplit_layers(), shape.microbatches
        ),
        tokens=shape.tokens,
        parameters=world.total(count_parameters(part)),
    )  # fmt: skip


def scheduled(schedule: Any, stage: Any, tokens: Any, targets: Any) -> Any:
    """A step: the first stage puts the tokens in, the last compares with the targets."""
    losses: list[Any] = []
    inputs = (tokens,) if stage.is_first else ()
    if stage.is_last:
        schedule.step(*inputs, target=targets, losses=losses, return_outputs=False)
        return torch.stack(losses).mean()
    schedule.step(*inputs)
    return None
