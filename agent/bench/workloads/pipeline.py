"""pipeline: each rank has some layers; microbatches alternate between forward and backward.

PyTorch's Schedule1F1B. Narayanan et al., Megatron-LM (arXiv 2104.04473).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.errors import UnusableError
from agent.bench.workloads import training
from agent.bench.workloads.model import compute_loss, count_parameters
from agent.bench.workloads.shape import split_layers


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package.

    Raises UnusableError for too few layers, or an uneven batch.
    """
    settings = training.WorkloadOptions.parse(comm, options)
    shape = settings.shape
    if shape.layers < comm.size:
        raise UnusableError(
            f"{shape.layers} layers are too few for {comm.size} stages", "Each stage needs one."
        )
    shape.must_divide(shape.microbatches, "batch")
    layers = split_layers(shape.layers, comm.size)[comm.rank]
    part = training.build_model(comm, settings, settings.layers(), layers)
    comm.connect()
    stage = PipelineStage(part, comm.rank, comm.size, comm.device)
    schedule = Schedule1F1B(stage, shape.microbatches, loss_fn=compute_loss)
    ((tokens, targets),) = training.make_batches(comm, settings, [0])
    return training.train(
        comm,
        settings,
        "pipeline",
        parts=part,
        step=lambda: run_schedule(schedule, stage, tokens, targets),
        expected=lambda: training.compute_expected(
            comm, settings, [0], settings.unsplit_layers(), shape.microbatches
        ),
        tokens=shape.tokens,
        parameters=comm.sum_counts(count_parameters(part)),
    )


def run_schedule(schedule: Any, stage: Any, tokens: Any, targets: Any) -> Any:
    """Run a step: the first stage feeds the tokens, the last compares with the targets."""
    losses: list[Any] = []
    inputs = (tokens,) if stage.is_first else ()
    if stage.is_last:
        schedule.step(*inputs, target=targets, losses=losses, return_outputs=False)
        return torch.stack(losses).mean()
    schedule.step(*inputs)
    return None
