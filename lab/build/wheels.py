"""The PyTorch that lab rigs and tests get: a build for CPUs, which has all but the GPUs.

`python -m lab.build.wheels` prints pip's arguments for it.
"""

from __future__ import annotations

from lab.build import host

TORCH = "torch==2.13.0"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


def index_url() -> str:
    """The index to take it from; empty where pip finds a build for CPUs by itself."""
    return "" if host.has_torch_build(TORCH) else TORCH_INDEX


if __name__ == "__main__":
    # The index has torch and no more: the rest comes from pip's own.
    print(TORCH, *(["--extra-index-url", index_url()] if index_url() else []))
