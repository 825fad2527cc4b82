"""Which GPUs PyTorch can use, in a process of its own: `python -m agent.bench.torch_probe`."""

from __future__ import annotations

import json
import sys
import warnings

if __name__ == "__main__":
    import torch

    with warnings.catch_warnings(record=True) as caught:  # why CUDA can't be used
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    said = str(caught[0].message).splitlines()[0] if caught and not count else ""
    json.dump({"gpus": count, "nccl": torch.distributed.is_nccl_available(), "said": said},
              sys.stdout)  # fmt: skip
