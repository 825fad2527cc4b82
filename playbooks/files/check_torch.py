"""Prove that PyTorch works on this rig: it imports, computes, and sees every GPU.

Writes what it found to the file named by --proof, and only then: its existence is the proof.
"""

import argparse
import json
import sys
from pathlib import Path


def nvml_names() -> list:
    """The name of each GPU, by NVML itself."""
    import pynvml

    pynvml.nvmlInit()
    count = pynvml.nvmlDeviceGetCount()
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    names = [pynvml.nvmlDeviceGetName(handle) for handle in handles]
    pynvml.nvmlShutdown()
    return names


def main() -> int:
    """Return 0 when all checks pass; else 1, after a line about the failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--gpus", type=int, required=True, help="how many GPUs there must be")
    parser.add_argument("--proof", required=True)
    args = parser.parse_args()

    names = nvml_names()
    if len(names) != args.gpus:
        print(f"NVML sees {len(names)} GPUs, and the PCIe bus {args.gpus}", file=sys.stderr)
        return 1

    import torch

    if args.build == "cuda" and torch.version.cuda is None:
        print(f"torch {torch.__version__} is a build without CUDA", file=sys.stderr)
        return 1
    devices = ["cpu"]
    if args.build == "cuda":
        if torch.cuda.device_count() != args.gpus:
            seen = torch.cuda.device_count()
            print(f"torch sees {seen} of {args.gpus} GPUs", file=sys.stderr)
            return 1
        devices += [f"cuda:{index}" for index in range(args.gpus)]
    for device in devices:
        product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        if product.sum().item() != 64**3:
            print(f"a matrix product on {device} is wrong", file=sys.stderr)
            return 1

    proof = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": names,
        "devices": devices,
    }
    draft = Path(args.proof + ".new")
    draft.write_text(json.dumps(proof))
    draft.rename(args.proof)
    print(json.dumps(proof))
    return 0


if __name__ == "__main__":
    sys.exit(main())
