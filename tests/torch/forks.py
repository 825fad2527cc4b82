"""Runs the rank program without torchrun: ranks are forks of one process.

PyTorch is loaded once for all of them, so eight take no longer than two.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.torch.launch import PATIENCE_SECONDS, ROOT

#: Loads all that ranks need, and runs jobs one after another: each is a folder, its number of ranks
#: and a port. Ends with the number of ranks that failed.
FORK = """
import importlib, os, sys
from agent.bench import rank
for name in rank.PARTS.values():
    importlib.import_module(name)
failed = 0
for folder, count, port in zip(*[iter(sys.argv[1:])] * 3):
    started = []
    for number in range(int(count)):
        started.append(os.fork())
        if not started[-1]:
            os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": count,
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            sys.argv[1:] = [folder + "/job.json"]
            rank.main()
    failed += sum(os.waitpid(pid, 0)[1] != 0 for pid in started)
sys.exit(failed)
"""


def run(*jobs: tuple[Path, int, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Run jobs (folder, number of ranks, parts); return their outputs."""
    words = []
    for folder, count, parts in jobs:
        job = {
            "backend": "gloo",
            "output": str(folder / "output.json"),
            "parts": parts,
            "ends_with_parent": True,
        }
        (folder / "job.json").write_text(json.dumps(job))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            words += [str(folder), str(count), str(free.getsockname()[1])]
    done = subprocess.run(
        [sys.executable, "-c", FORK, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / "output.json").read_text()) for folder, _, _ in jobs]
