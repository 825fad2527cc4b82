"""pipeline: each rank has some layers; microbatches go through them one forward, one backward.

PyTorch's Schedule1F1B. Narayanan et al., Megatron-LM (arXiv 2104.04473).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from agent.bench.communicator import Communicator
from agent.bench.errors import UnusableError
from agent.bench.workloads import training
from agent.bench.workloads.model import compute_loss, count_parameters
from agent.bench.workloads.shape import split_layers


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package. Raises UnusableError for too few layers, or an uneven batch."""
    setting = training.WorkloadOptions.of(comm, options)
    shape = setting.shape
    if shape.layers < comm.size:
        raise UnusableError(
            f"{shape.layers} layers are too few for {comm.size} stages", "Each needs one."
        )
    shape.must_divide(shape.microbatches, "batch")
    own = split_layers(shape.layers, comm.size)[comm.rank]
    part = training.build_model(comm, setting, setting.layers(), own)
    comm.connect()
    stage = PipelineStage(part, comm.rank, comm.size, comm.device)
    schedule = Schedule1F1B(stage, shape.microbatches, loss_fn=compute_loss)
    ((tokens, targets),) = training.batches(comm, setting, [0])
    return training.train(
        comm, setting, "pipeline",
        parts=part,
        step=lambda: scheduled(schedule, stage, tokens, targets),
        expected=lambda: training.expectation(
            comm, setting, [0], setting.unsplit_layers(), shape.microbatches
        ),
        tokens=shape.tokens,
        parameters=comm.total(count_parameters(part)),
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
