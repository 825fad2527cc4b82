"""What a deep learning host has on top of the driver: CUDA toolkit, NCCL, PyTorch."""

from __future__ import annotations

import re

from provision.remote import dpkg
from provision.remote.facts.tree import Tree

# Virtual environments of the system's, not of a person's.
SITE_PACKAGES = "/opt/*/venv/lib/python3*/site-packages"


def software(tree: Tree, packages: dpkg.Database) -> dict[str, str | None]:
    """Versions by name; None for what is not there."""
    toolkits = [
        package.version
        for package in packages.matching("cuda-toolkit-*-*")
        if package.present and re.fullmatch(r"cuda-toolkit-\d+-\d+", package.name)
    ]
    nccl = packages.find("libnccl2")
    wheels = [
        match.group(1)
        for path in tree.glob(f"{SITE_PACKAGES}/torch-*.dist-info")
        if (match := re.search(r"/torch-([^/]+)\.dist-info$", path))
    ]
    return {
        "cuda": max(toolkits, key=_numbers, default=None),
        "nccl": nccl.version if nccl and nccl.present else None,
        "torch": max(wheels, key=_numbers, default=None),
    }


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
