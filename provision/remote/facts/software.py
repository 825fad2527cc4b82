"""What a deep learning host has on top of the driver: CUDA toolkit, NCCL, PyTorch."""

from __future__ import annotations

import re
from typing import Any

from provision.remote import dpkg
from provision.remote.facts.tree import Tree

# Virtual environments of the system's, not of a person's.
SITE_PACKAGES = "/opt/*/venv/lib/python3*/site-packages"


# The whole toolkit, and what a compiler needs; their names end in the series.
TOOLKITS = ("cuda-toolkit", "cuda-minimal-build")


def software(tree: Tree, packages: dpkg.Database) -> dict[str, Any]:
    """Versions by name, None for what is not there, and the CUDA packages with their versions."""
    toolkits = {
        package.name: package.version
        for name in TOOLKITS
        for package in packages.matching(f"{name}-*-*")
        if package.present and re.fullmatch(rf"{name}-\d+-\d+", package.name)
    }
    nccl = packages.find("libnccl2")
    wheels = [
        match.group(1)
        for path in tree.glob(f"{SITE_PACKAGES}/torch-*.dist-info")
        if (match := re.search(r"/torch-([^/]+)\.dist-info$", path))
    ]
    return {
        "cuda": max(toolkits.values(), key=_numbers, default=None),
        "cuda_packages": toolkits,
        "nccl": nccl.version if nccl and nccl.present else None,
        "torch": max(wheels, key=_numbers, default=None),
    }


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
