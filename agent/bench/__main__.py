"""`python -m agent.bench`: measures a rig's GPUs and links, and checks every value."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from agent.bench import document as documents
from agent.bench import plan as plans
from agent.bench import processes
from agent.bench.errors import UnusableError
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.job import AGAIN
from agent.bench.plan_runner import PlanRunner
from agent.bench.rank import write
from agent.bench.reporters import JsonReporter, Reporter, TextReporter
from agent.bench.resources import ResourceRequest, find

UNUSABLE_STATUS = documents.STATUSES["unusable"]
LOOK_SECONDS = 10.0  # for a first answer whether the GPUs are idle


class Parser(argparse.ArgumentParser):
    """Its own status, 2, has a meaning here."""

    def error(self, message: str) -> NoReturn:
        """Raises UnusableError."""
        raise UnusableError(message, "--help shows what there is.")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line, read. Raises UnusableError."""
    parser = Parser(
        prog="python -m agent.bench", description="Benchmarks with checked results (docs/bench.md)."
    )
    add = parser.add_argument
    add(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(plans.PARTS)}; default: the plan's"
    )
    add("--plan", choices=plans.PLANS, default="full", help="how much (default: full)")
    add(
        "--backend",
        choices=("auto", "nccl", "gloo"),
        default="auto",
        help="auto: nccl where PyTorch sees GPUs",
    )
    add("--ranks", type=int, help="on this rig; default: its GPUs, with gloo two at least")
    add("--min-bytes", help="of collectives and pairs, as 8, 64K, 256M")
    add("--max-bytes")
    add("--factor", type=int, help="from one size to the next")
    add("--repeats", type=int, help="of each measurement")
    add("--deadline", type=float, metavar="SECONDS", help="of the whole")
    add("--patience", type=float, metavar="SECONDS", help="after which silent ranks hang")
    add(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="also write docs/nccl-results.md's file there",
    )
    add("--output", type=Path, metavar="FILE", help="write the document")
    add("--events", action="store_true", help="JSON lines instead of text")
    add(
        "--yield-to-jobs",
        action="store_true",
        help="not beside another program on the GPUs, and end when one starts",
    )
    add("--nodes", type=int, default=1, metavar="N", help="how many rigs")
    add("--node-rank", type=int, default=0, metavar="K", help="which one this is, from 0")
    add("--rendezvous", default="", metavar="HOST:PORT", help="of the rig with --node-rank 0")
    add("--interface", default="", metavar="NAME", help="the network interface between rigs")
    read = parser.parse_args(words)
    for part in read.parts:
        if part not in plans.PARTS:
            parser.error(f"no part {part!r}: there are {', '.join(plans.PARTS)}")
    if read.output and read.output.is_dir():
        parser.error(f"--output {read.output} is a folder")
    for folder in (read.output and read.output.absolute().parent, read.results):
        if folder and (problem := _no_place(folder)):
            parser.error(problem)
    return read


def _no_place(folder: Path) -> str:
    """Why nothing can be written there, which after the run would be too late; else empty."""
    if not folder.is_dir():
        return f"{folder} is no folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} can't be written to: {error.strerror}"


def changes(read: argparse.Namespace) -> dict[str, Any]:
    """What of the plan the command line replaces. Raises UnusableError."""
    made: dict[str, Any] = {
        name: plans.size(value)
        for name in ("min_bytes", "max_bytes")
        if (value := getattr(read, name)) is not None
    }
    for name in ("factor", "repeats"):
        if (value := getattr(read, name)) is not None:
            if value < 1:
                raise UnusableError(f"--{name} {value}", "It is 1 or more.")
            made[name] = value
    return made


def run(read: argparse.Namespace, document: dict[str, Any], report: Reporter) -> int:
    """All of it; the exit status. Raises UnusableError."""
    if importlib.util.find_spec("torch") is None:
        raise UnusableError(
            f"{sys.executable} has no PyTorch",
            "Run it with the Python of /opt/deeprig/venv, which playbooks/pytorch.yml makes.",
        )
    changed = changes(read)
    request = ResourceRequest(
        read.backend, read.ranks, read.nodes, read.node_rank, read.rendezvous, read.interface
    )  # fmt: skip
    resources, nodes = find(request)
    document.update(backend=resources.backend, ranks=resources.ranks, nodes=nodes.count)
    plan = plans.make(read.plan, resources, read.parts, changed)
    plan = plan.limited(read.deadline, read.patience)
    watch = InterruptionMonitor(
        plan.deadline_seconds, input_too=read.events, jobs_too=read.yield_to_jobs
    )
    try:
        if others := watch.first_look(LOOK_SECONDS):
            message = f"another program works on the GPUs: {others}"
            document["problems"].append(documents.problem(
                "environment", "yielded", message, AGAIN
            ))  # fmt: skip
            report.refused(message, AGAIN)
        else:
            PlanRunner(plan, resources, nodes, document, watch, report).go()
    finally:
        watch.close()
        processes.end_descendants()
    if watch.signal:
        return 128 + watch.signal
    nothing = [part for part in plan.parts if part.skipped]
    if len(nothing) == len(plan.parts):
        raise UnusableError(f"{nothing[0].name} {nothing[0].skipped}", "Nothing was run.")
    return documents.exit_status(document)


def save(read: argparse.Namespace, document: Mapping[str, Any]) -> None:
    """Write the files that were asked for."""
    if read.output:
        write(read.output, document)
    results = documents.collective_results(document)
    if read.results and results:
        finished = datetime.fromtimestamp(document["finished_at"], tz=timezone.utc)
        name = f"{finished:%Y-%m-%dT%H%M%S}-bench-{document['backend']}.json"
        unfinished = read.results / ".result.tmp"
        unfinished.write_text(json.dumps(results), encoding="utf-8")
        unfinished.replace(read.results / name)


def main(words: Sequence[str]) -> int:
    """Run; the exit status."""
    try:
        read = arguments(words)
    except UnusableError as error:
        print(f"deeprig-bench: {error}", file=sys.stderr)
        return UNUSABLE_STATUS
    processes.become_subreaper()
    report: Reporter = JsonReporter() if read.events else TextReporter()
    document = documents.start(
        plan=read.plan, backend=read.backend, ranks=read.ranks or 0, nodes=read.nodes,
        hostname=os.uname().nodename, now=time.time(),
    )  # fmt: skip
    try:
        try:
            status = run(read, document, report)
        except UnusableError as error:
            report.refused(error.message, error.advice)
            document["problems"].append(
                documents.problem("environment", "unusable", error.message, error.advice)
            )
            status = UNUSABLE_STATUS
        document["finished_at"] = time.time()
        report.document(document)
        save(read, document)
    except BrokenPipeError:  # nobody reads any more: what was started has been ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"deeprig-bench: {error}", file=sys.stderr)
        return UNUSABLE_STATUS
    except KeyboardInterrupt:  # before Watch takes signals: nothing but a probe was started
        return 128 + signal.SIGINT
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
