"""A rank's connection to the other ranks: its number, its device, barriers and sums.

Barriers and sums use gloo and CPU tensors, even if the data goes over NCCL, so that they do not
depend on the transport that is measured.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from agent.bench.progress import ProgressWriter

#: The backends' names in torch.distributed; CPU tensors always use gloo.
BACKENDS = {"gloo": "gloo", "nccl": "cpu:gloo,cuda:nccl"}
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
AMPERE = (8, 0)  # compute capability


@dataclass(frozen=True)
class Communicator:
    """One of `size` ranks. local_rank: its number on this rig, and that of its GPU."""

    rank: int
    size: int
    local_rank: int
    backend: str
    device: torch.device
    progress: ProgressWriter

    @classmethod
    def join(cls, backend: str, progress: ProgressWriter, timeout_seconds: float) -> Communicator:
        """Join the ranks of torchrun's environment. Raises RuntimeError, ValueError."""
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        if backend == "nccl":
            torch.cuda.set_device(local)
            device = torch.device("cuda", local)
        else:
            device = torch.device("cpu")
        dist.init_process_group(
            BACKENDS[backend],
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=timeout_seconds),
        )
        return cls(rank, size, local, backend, device, progress)

    def leave(self) -> None:
        """End the connection."""
        dist.destroy_process_group()

    def synchronize(self) -> None:
        """Wait until the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Free unused memory, which NCCL and the other ranks need.

        PyTorch caches freed memory of GPUs and pinned memory of the host, and models in reference
        cycles wait for the garbage collector.
        """
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            # PyTorch 2.11, which a rig can be configured to have, has only the private function.
            empty = getattr(torch.accelerator, "empty_host_cache", None)
            (empty or torch._C._host_emptyCache)()

    def connect(self) -> None:
        """Create NCCL's communicator of all ranks. Collective.

        Otherwise the first batch of sends and receives creates it, in which not all ranks take
        part: torch.distributed.batch_isend_irecv leaves that undefined.
        """
        dist.all_reduce(torch.zeros(1, device=self.device))
        self.synchronize()

    def barrier(self) -> None:
        """Wait until every rank has called this and every device is idle."""
        self.synchronize()
        self._agree([0.0], dist.ReduceOp.SUM)

    def find_slowest(self, seconds: Sequence[float]) -> list[float]:
        """Return the slowest rank's value of each time."""
        return self._agree(seconds, dist.ReduceOp.MAX)

    def has_bfloat16(self) -> bool:
        """Return whether every rank's device has bfloat16, as GPUs since Ampere. Collective."""
        has = self.device.type != "cuda" or torch.cuda.get_device_capability(self.device) >= AMPERE
        return not self.find_worst(float(not has))

    def find_least_memory(self) -> float:
        """Return the bytes of the smallest GPU's memory; infinite without GPUs. Collective."""
        memory = math.inf
        if self.device.type == "cuda":
            memory = float(torch.cuda.get_device_properties(self.device).total_memory)
        return -self.find_worst(-memory)

    def find_worst(self, value: float) -> float:
        """Return the largest value of any rank."""
        return self._agree([value], dist.ReduceOp.MAX)[0]

    def sum_counts(self, count: int) -> int:
        """Return the sum of all ranks' counts."""
        return int(self._agree([float(count)], dist.ReduceOp.SUM)[0])

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's object, by rank. The objects must be picklable."""
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def line(self, text: str) -> None:
        """Print a line, on rank 0 only."""
        if self.rank == 0:
            self.progress.line(text)

    def _agree(self, values: Sequence[float], operation: Any) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation)
        return [float(value) for value in tensor]
