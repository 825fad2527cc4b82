"""Reports which GPUs PyTorch can use, as JSON: `python -m agent.bench.torch_probe`."""

from __future__ import annotations

import json
import sys
import warnings

if __name__ == "__main__":
    import torch

    with warnings.catch_warnings(record=True) as caught:  # why CUDA is not available
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    warning = str(caught[0].message).splitlines()[0] if caught and not count else ""
    has_nccl = torch.distributed.is_nccl_available()
    json.dump({"gpus": count, "nccl": has_nccl, "warning": warning}, sys.stdout)
