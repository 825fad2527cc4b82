"""On PYTHONPATH of ranks, this is a rig in trouble: rank 1 raises, lies, dies and stops.

It raises where it multiplies (gemm), its sums come out wrong, it is killed when it sends (pairs),
and is stopped where DistributedDataParallel is made (ddp).
"""

from __future__ import annotations

import os
import signal
from typing import Any

if os.environ.get("RANK") == "1":
    import torch
    import torch.distributed as dist
    import torch.nn.parallel

    right = dist.all_reduce

    def raise_error(*words: Any, **named: Any) -> None:
        raise RuntimeError("a bit in memory is lost")

    def make_wrong(tensor: Any, *words: Any, **named: Any) -> Any:
        result = right(tensor, *words, **named)
        if tensor.dtype == torch.float32:  # what ranks agree about by themselves has 64 bits
            tensor.view(-1)[-1] += 1
        return result

    def kill_rank(*words: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def stop_rank(*words: Any, **named: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    torch.mm, dist.all_reduce, dist.send = raise_error, make_wrong, kill_rank
    torch.nn.parallel.DistributedDataParallel = stop_rank
