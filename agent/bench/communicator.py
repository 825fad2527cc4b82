"""A rank's view of the run: who it is, its device, and agreement with the others.

Agreement (barriers, the slowest time, sums of counts) goes over gloo and CPU tensors, also where
the data goes over NCCL: what is measured is not used to measure.
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

#: torch.distributed's names of backends, by ours; CPU tensors always go by gloo.
BACKENDS = {"gloo": "gloo", "nccl": "cpu:gloo,cuda:nccl"}
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
AMPERE = (8, 0)  # compute capability


@dataclass(frozen=True)
class Communicator:
    """One rank among `size`; local_rank is its number on this rig, and its GPU's."""

    rank: int
    size: int
    local_rank: int
    backend: str
    device: torch.device
    progress: ProgressWriter

    @classmethod
    def join(cls, backend: str, progress: ProgressWriter, timeout_seconds: float) -> Communicator:
        """Meet the others as torchrun's environment says. Raises RuntimeError, ValueError."""
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local = int(os.environ.get("LOCAL_RANK", rank))
        if backend == "nccl":
            torch.cuda.set_device(local)
            device = torch.device("cuda", local)
        else:
            device = torch.device("cpu")
        dist.init_process_group(
            BACKENDS[backend], rank=rank, world_size=size,
            timeout=timedelta(seconds=timeout_seconds),
        )  # fmt: skip
        return cls(rank, size, local, backend, device, progress)

    def leave(self) -> None:
        """Take leave of the others."""
        dist.destroy_process_group()

    def synchronize(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def release(self) -> None:
        """Give back memory that nobody uses: NCCL and the other ranks take theirs elsewhere.

        PyTorch keeps for itself what was freed, of GPUs and of pinned host memory, and models that
        hold themselves wait for the collector.
        """
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            # An older PyTorch (2.11), which a rig may be told to have, knows only the inner name.
            outer = getattr(torch.accelerator, "empty_host_cache", None)
            (outer or torch._C._host_emptyCache)()

    def connect(self) -> None:
        """Make the communicator of all ranks, by all at once. Collective.

        The first batch of sends and receives would make it, and not all ranks have a part in that
        (torch.distributed.batch_isend_irecv: undefined).
        """
        dist.all_reduce(torch.zeros(1, device=self.device))
        self.synchronize()

    def barrier(self) -> None:
        """Wait until every rank is here and every device idle."""
        self.synchronize()
        self._agree([0.0], dist.ReduceOp.SUM)

    def slowest(self, seconds: Sequence[float]) -> list[float]:
        """Of each time the slowest rank's."""
        return self._agree(seconds, dist.ReduceOp.MAX)

    def has_bfloat16(self) -> bool:
        """Whether every rank's device computes in it: GPUs from Ampere on do. Collective."""
        own = self.device.type != "cuda" or torch.cuda.get_device_capability(self.device) >= AMPERE
        return not self.worst(float(not own))

    def least_memory(self) -> float:
        """Bytes of the smallest GPU's memory; infinite where there are none. Collective."""
        own = math.inf
        if self.device.type == "cuda":
            own = float(torch.cuda.get_device_properties(self.device).total_memory)
        return -self.worst(-own)

    def worst(self, value: float) -> float:
        """The largest value of any rank."""
        return self._agree([value], dist.ReduceOp.MAX)[0]

    def total(self, count: int) -> int:
        """The sum of all ranks' counts."""
        return int(self._agree([float(count)], dist.ReduceOp.SUM)[0])

    def gather(self, thing: Any) -> list[Any]:
        """What every rank has, by rank. Things that pickle."""
        things: list[Any] = [None] * self.size
        dist.all_gather_object(things, thing)
        return things

    def line(self, text: str) -> None:
        """A line for people, said once."""
        if self.rank == 0:
            self.progress.line(text)

    def _agree(self, values: Sequence[float], operation: Any) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, op=operation)
        return [float(value) for value in tensor]
