"""fsdp: fully sharded data parallel (ZeRO stage 3), PyTorch's fully_shard.

Parameters are gathered a layer at a time, for forward and again for backward; gradients are
reduced to the shards. Rajbhandari et al., ZeRO (arXiv 1910.02054).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from agent.bench.communicator import Communicator
from agent.bench.workloads import training
from agent.bench.workloads.model import count_parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package."""
    setting = training.WorkloadOptions.of(comm, options)
    sharded = training.build_model(comm, setting, setting.layers(comm.rank + 1))
    parameters = count_parameters(sharded)
    mesh = init_device_mesh(comm.device.type, (comm.size,))
    for layer in sharded.layers.values():
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    return training.train_replicas(comm, setting, "fsdp", sharded, parameters)
