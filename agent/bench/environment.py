"""What runs: versions of PyTorch, CUDA and NCCL, and which GPU each rank has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from agent.bench.communicator import Communicator


def run(comm: Communicator, options: Mapping[str, Any]) -> dict[str, Any]:
    """The part: says it. In the document it is in any case (rank.py)."""
    found = versions(comm)
    comm.line(f"PyTorch {found['torch']}, {comm.backend}, {comm.size} ranks")
    for rank, (address, name) in enumerate(zip(found["gpus"], found["gpu_names"], strict=True)):
        comm.line(f"rank {rank}: {name} at {address}")
    return {}


def versions(comm: Communicator) -> dict[str, Any]:
    """Versions as text; "gpus" and "gpu_names" by rank, empty without CUDA. Collective."""
    own = gpu(comm.local_rank) if comm.device.type == "cuda" else None
    known = [one for one in comm.gather(own) if one is not None]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if comm.backend == "nccl" else None
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "nccl": nccl,
        "gpus": [address for address, _ in known],
        "gpu_names": [name for _, name in known],
    }


def gpu(index: int) -> tuple[str, str]:
    """PCIe address, as sysfs writes it, and name of a CUDA device."""
    found = torch.cuda.get_device_properties(index)
    bus = f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    return bus, str(found.name)
