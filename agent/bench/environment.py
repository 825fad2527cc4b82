"""environment: versions of PyTorch, CUDA and NCCL, and each rank's GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from agent.bench.communicator import Communicator
from agent.bench.entries import Share, Versions


def run(comm: Communicator, options: Mapping[str, Any]) -> Share:
    """Print them. rank.py adds them to every document."""
    versions = read_versions(comm)
    comm.line(f"PyTorch {versions['torch']}, {comm.backend}, {comm.size} ranks")
    for rank, (address, name) in enumerate(
        zip(versions["gpus"], versions["gpu_names"], strict=True)
    ):
        comm.line(f"rank {rank}: {name} at {address}")
    return {}


def read_versions(comm: Communicator) -> Versions:
    """Return versions, and "gpus" and "gpu_names" by rank (empty without CUDA). Collective."""
    gpu = describe_gpu(comm.local_rank) if comm.device.type == "cuda" else None
    gpus = [gpu for gpu in comm.gather(gpu) if gpu is not None]
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if comm.backend == "nccl" else None
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "nccl": nccl,
        "gpus": [address for address, _ in gpus],
        "gpu_names": [name for _, name in gpus],
    }


def describe_gpu(index: int) -> tuple[str, str]:
    """Return the PCIe address of a CUDA device, as sysfs writes it, and its name."""
    properties = torch.cuda.get_device_properties(index)
    bus, device = properties.pci_bus_id, properties.pci_device_id
    address = f"{properties.pci_domain_id:04x}:{bus:02x}:{device:02x}.0"
    return address, str(properties.name)
