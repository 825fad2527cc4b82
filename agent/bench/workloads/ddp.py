"""ddp: data parallel. Every rank has the model; gradients are averaged in buckets, meanwhile.

Li et al., PyTorch Distributed (arXiv 2006.15704).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from agent.bench.communicator import Communicator
from agent.bench.workloads import training
from agent.bench.workloads.model import count_parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as in the package; bucket_mb is the size of a bucket in MiB.

    Where it is not said, buckets are PyTorch's own: a first one of 1 MiB, and then 25 MiB each.
    """
    said = {"bucket_cap_mb": options["bucket_mb"]} if "bucket_mb" in options else {}
    setting = training.WorkloadOptions.of(comm, options)
    whole = training.build_model(comm, setting, setting.layers(comm.rank + 1))
    parallel = DistributedDataParallel(
        whole,
        device_ids=[comm.local_rank] if comm.device.type == "cuda" else None,
        **said,
    )
    return training.train_replicas(comm, setting, "ddp", parallel, count_parameters(whole))
