"""The rank program: `python -m agent.bench.rank JOB.json` under torchrun's environment.

JOB.json: {"backend": "gloo"|"nccl", "output": FILE, "parts": [{"part": NAME, options…}]}, and from
the launcher "folder" (progress and stacks, see progress.py), "ends_with_parent", and
"ends_after_wrong": parts after which all ranks end where values were wrong, so that the rest is
run in another way. Rank 0 writes the output anew after each part, and after each piece of one that
comes in pieces, so that what was measured before a hang is kept.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.bench.document import added, wrong
from agent.bench.errors import UnusableError
from agent.bench.processes import end_with_parent
from agent.bench.progress import ProgressWriter, log_file, stack_file

#: Where each part is: a module with `run(world, options)`, collective, which returns the part's
#: share of the document: lists by key. One that takes long yields its share so far, each time.
PARTS = {
    "environment": "agent.bench.environment",
    "collectives": "agent.bench.collectives",
    "pairs": "agent.bench.pairs",
    "gemm": "agent.bench.gemm",
    "transfers": "agent.bench.transfers",
    "peer": "agent.bench.peer",
    "ddp": "agent.bench.workloads.ddp",
    "fsdp": "agent.bench.workloads.fsdp",
    "pipeline": "agent.bench.workloads.pipeline",
    "tensor": "agent.bench.workloads.tensor",
    "three_d": "agent.bench.workloads.three_d",
    "moe": "agent.bench.workloads.moe",
    "decode": "agent.bench.workloads.decode",
}
TIMEOUT_SECONDS = 300.0  # of torch.distributed itself: the launcher's deadlines are shorter


def run(job: Mapping[str, Any]) -> None:
    """Every part of the job."""
    folder = Path(job["folder"]) if "folder" in job else None
    rank = int(os.environ["RANK"])
    if folder is not None:
        log = os.open(log_file(folder, rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.register(signal.SIGUSR1, stack_file(folder, rank).open("w"), all_threads=True)
    progress = ProgressWriter(folder, rank)
    try:
        _run(job, rank, progress)
    except BaseException:
        progress.raised()
        raise


def _run(job: Mapping[str, Any], rank: int, progress: ProgressWriter) -> None:
    progress.at("import of PyTorch")
    from agent.bench.communicator import Communicator
    from agent.bench.environment import versions  # here: meanwhile SIGUSR1 is answered

    for options in job["parts"]:  # before any begins: it takes a slow processor long
        progress.at(f"import of {options['part']}")
        with contextlib.suppress(ImportError):  # raised again by the part itself
            importlib.import_module(PARTS[options["part"]])
    progress.at("rendezvous")
    comm = Communicator.join(job["backend"], progress, job.get("timeout_seconds", TIMEOUT_SECONDS))
    document: dict[str, Any] = {
        "backend": comm.backend, "ranks": comm.size, "hostname": socket.gethostname(),
        **versions(comm), "parts": [],
    }  # fmt: skip
    for options in job["parts"]:
        part = options["part"]
        progress.begin(part)
        share: Mapping[str, Any] = {}
        try:
            for share in _shares(importlib.import_module(PARTS[part]).run(comm, options)):
                if rank == 0:
                    write(Path(job["output"]), added(document, share))
        except UnusableError as error:  # all ranks find it, before they do anything together
            progress.unusable(error.message, error.advice)
            progress.end(part)
            continue
        document = added(document, share)
        document["parts"].append(part)
        if rank == 0:
            write(Path(job["output"]), document)
        comm.release()
        comm.barrier()  # a part is over when it is over for all
        found = wrong(share)
        progress.end(part, found)
        if part in job.get("ends_after_wrong", ()) and comm.worst(float(bool(found))):
            break
    comm.barrier()
    comm.leave()
    progress.done()


def _shares(made: Any) -> Iterable[Mapping[str, Any]]:
    """What a part returned, or what it yields."""
    return [made] if isinstance(made, Mapping) else made


def write(file: Path, document: Mapping[str, Any]) -> None:
    """Replace the file in one step."""
    unfinished = file.with_name(f".{file.name}.tmp")
    try:
        unfinished.write_text(json.dumps(document), encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def main() -> None:
    """Run the job that is named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if job.get("ends_with_parent"):
        end_with_parent()
    status = 1
    try:
        run(job)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written. A regular exit takes communicators down: NCCL's may wait there for a peer that
    # never comes, and torch's threads now and then abort it (seen with 2.13, gloo).
    os._exit(status)


if __name__ == "__main__":
    main()
