"""ddp: data parallel. Every rank has the model; gradients are averaged in buckets during backward.

Li et al., PyTorch Distributed (arXiv 2006.15704).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.nn.parallel import DistributedDataParallel

from agent.bench.communicator import Communicator
from agent.bench.entries import Share
from agent.bench.workloads import training
from agent.bench.workloads.model import count_parameters


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Run the workload. Options as in the package; bucket_mb is the size of a bucket in MiB.

    By default PyTorch's first bucket has 1 MiB and the others have 25 MiB.
    """
    buckets = {"bucket_cap_mb": options["bucket_mb"]} if "bucket_mb" in options else {}
    settings = training.WorkloadOptions.parse(comm, options)
    whole = training.build_model(comm, settings, settings.layers(comm.rank + 1))
    parallel = DistributedDataParallel(
        whole,
        device_ids=[comm.local_rank] if comm.device.type == "cuda" else None,
        **buckets,
    )
    return training.train_replicas(comm, settings, "ddp", parallel, count_parameters(whole))
