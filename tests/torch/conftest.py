"""The run that several files share: the first starts it, the last checks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torch.launch import ROOT, BenchProcess, launch


@pytest.fixture(scope="session")
def in_trouble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BenchProcess]:
    """A run whose rank 1 does all that is bad (troubled/). Most of it is patience: it goes on
    beside other tests, until test_troubled.py takes its document.
    """
    folder = tmp_path_factory.mktemp("troubled")
    path = os.pathsep.join([str(Path(__file__).with_name("troubled")), str(ROOT)])
    with launch(
        folder,
        "gemm",
        "collectives",
        "pairs",
        "ddp",
        "moe",
        "decode",
        "--plan",
        "quick",
        "--patience",
        "10",
        "--ranks",
        "2",
        "--max-bytes",
        "4K",
        "--repeats",
        "1",
        PYTHONPATH=path,
    ) as bench:
        bench.wait_for_ranks(2)
        yield bench
