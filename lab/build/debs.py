"""Packages that rigs download from the distribution's public repository, kept between test runs.

A kernel, its compiler and a driver are some hundred megabytes. apt checks what it finds in its
archives as it checks a download.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.build import image

ARCHIVES = "var/cache/apt/archives"


@contextmanager
def keep_downloads(root: Path, release: str) -> Iterator[None]:
    """Give a rig the packages that others downloaded; keep its own after the block.

    root: of the rig's file system. release: the codename of its distribution.
    """
    folder = image.cache() / f"debs-{release}"
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)  # so that it counts as used
    archives = root / ARCHIVES
    for file in folder.glob("*.deb"):
        shutil.copy(file, archives)
    try:
        yield
    finally:
        for file in archives.glob("*.deb"):
            target = folder / file.name
            if not target.exists():
                draft = target.with_suffix(f".{os.getpid()}")
                shutil.copy(file, draft)
                draft.replace(target)  # in one step, in case another process keeps it now
