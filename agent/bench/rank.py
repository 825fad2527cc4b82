"""The rank program: `python -m agent.bench.rank JOB.json` under torchrun's environment.

JOB.json: {"backend": "gloo"|"nccl", "output": FILE, "parts": [{"part": NAME, options…}]}. The
launcher adds "folder" (for progress and stacks, see progress.py), "ends_with_parent", and
"ends_after_wrong": after these parts all ranks end if values were wrong, so that the launcher can
run the remaining parts with other settings. Rank 0 rewrites the output after each part, and after
each piece of a part that yields pieces, so that measurements before a hang are kept.
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

from agent.bench.document import add_share, list_wrong_values
from agent.bench.errors import UnusableError
from agent.bench.processes import end_with_parent
from agent.bench.progress import ProgressWriter, log_file, stack_file

#: The module of each part. Its collective `run(comm, options)` returns the part's share of the
#: document, lists by key; a part that takes long yields its share so far, repeatedly.
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
TIMEOUT_SECONDS = 300.0  # of torch.distributed; the launcher's deadlines are shorter


def run(job: Mapping[str, Any]) -> None:
    """Run every part of the job."""
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
        progress.report_exception()
        raise


def _run(job: Mapping[str, Any], rank: int, progress: ProgressWriter) -> None:
    progress.report_position("import of PyTorch")
    from agent.bench.communicator import Communicator
    from agent.bench.environment import read_versions  # late: SIGUSR1 works meanwhile

    for options in job["parts"]:  # before the first part: imports are slow on a slow processor
        progress.report_position(f"import of {options['part']}")
        with contextlib.suppress(ImportError):  # the part raises it again
            importlib.import_module(PARTS[options["part"]])
    progress.report_position("rendezvous")
    comm = Communicator.join(job["backend"], progress, job.get("timeout_seconds", TIMEOUT_SECONDS))
    document: dict[str, Any] = {
        "backend": comm.backend,
        "ranks": comm.size,
        "hostname": socket.gethostname(),
        **read_versions(comm),
        "parts": [],
    }
    for options in job["parts"]:
        part = options["part"]
        progress.begin(part)
        share: Mapping[str, Any] = {}
        try:
            for share in _iterate_shares(importlib.import_module(PARTS[part]).run(comm, options)):
                if rank == 0:
                    write(Path(job["output"]), add_share(document, share))
        except UnusableError as error:  # on all ranks, before they communicate
            progress.report_unusable(error.message, error.advice)
            progress.end(part)
            continue
        document = add_share(document, share)
        document["parts"].append(part)
        if rank == 0:
            write(Path(job["output"]), document)
        comm.release()
        comm.barrier()  # a part ends when it ends on all ranks
        problems = list_wrong_values(share)
        progress.end(part, problems)
        if part in job.get("ends_after_wrong", ()) and comm.find_worst(float(bool(problems))):
            break
    comm.barrier()
    comm.leave()
    progress.report_done()


def _iterate_shares(made: Any) -> Iterable[Mapping[str, Any]]:
    """Return the share that a part returned, or the shares that it yields."""
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
    """Run the job of the command line."""
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
    # Everything is written. A regular exit shuts communicators down: NCCL's may wait for a peer
    # that never arrives, and PyTorch's threads sometimes abort the process (seen with 2.13, gloo).
    os._exit(status)


if __name__ == "__main__":
    main()
