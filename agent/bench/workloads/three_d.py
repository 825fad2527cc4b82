"""three_d: pipeline, data and tensor parallel at once, two of each, on 8 ranks.

A DeviceMesh of 2 x 2 x 2. Tensor parallel ranks are neighbours, because they communicate most;
fully_shard shards the split layers over the data parallel ranks.
Narayanan et al., Megatron-LM (arXiv 2104.04473).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.errors import UnusableError
from agent.bench.plan import THREE_D_RANKS
from agent.bench.workloads import tensor, training
from agent.bench.workloads.model import compute_loss, count_model_parameters
from agent.bench.workloads.pipeline import run_schedule
from agent.bench.workloads.shape import split_layers

SIDE = 2


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package. Raises UnusableError without 8 ranks."""
    settings = training.WorkloadOptions.parse(comm, options)
    shape = settings.shape
    if comm.size != THREE_D_RANKS:
        raise UnusableError(f"{comm.size} ranks", f"three_d needs {THREE_D_RANKS}.")
    shape.must_divide(SIDE, "heads", "hidden", "feed_forward", "layers")
    shape.must_divide(shape.microbatches, "batch")
    mesh = init_device_mesh(
        comm.device.type, (SIDE, SIDE, SIDE), mesh_dim_names=("pipeline", "data", "tensor")
    )
    number = mesh.get_local_rank("pipeline")
    layers = split_layers(shape.layers, SIDE)[number]
    make_layer = tensor.layer_maker(settings.compute, mesh["tensor"])
    part = training.build_model(comm, settings, make_layer, layers)
    for layer in part.layers.values():
        if settings.is_real:
            tensor.split_layer(layer, mesh["tensor"])
        fully_shard(layer, mesh=mesh["data"])
    fully_shard(part, mesh=mesh["data"])
    stage = PipelineStage(part, number, SIDE, comm.device, group=mesh.get_group("pipeline"))
    schedule = Schedule1F1B(stage, shape.microbatches, loss_fn=compute_loss)
    ((tokens, targets),) = training.make_batches(comm, settings, [mesh.get_local_rank("data")])
    return training.train(
        comm,
        settings,
        "three_d",
        parts=part,
        step=lambda: run_schedule(schedule, stage, tokens, targets),
        expected=lambda: training.compute_expected(
            comm, settings, range(SIDE), settings.unsplit_layers(1 / SIDE), shape.microbatches
        ),
        tokens=shape.tokens * SIDE,
        parameters=count_model_parameters(shape),
        compared=lambda name: settings.is_real or not name.startswith("layers."),
    )
