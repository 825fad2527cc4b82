"""fsdp: fully sharded data parallel (ZeRO stage 3), PyTorch's fully_shard.

Parameters are gathered one layer at a time, for forward and again for backward; gradients are
reduced to the shards. Rajbhandari et al., ZeRO (arXiv 1910.02054).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.workloads import training
from agent.bench.workloads.model import count_parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package."""
    settings = training.WorkloadOptions.parse(comm, options)
    sharded = training.build_model(comm, settings, settings.layers(comm.rank + 1))
    parameters = count_parameters(sharded)
    mesh = init_device_mesh(comm.device.type, (comm.size,))
    for layer in sharded.layers.values():
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    return training.train_replicas(comm, settings, "fsdp", sharded, parameters)
