"""`python -m agent.bench`: measures a rig's GPUs and links and checks every value."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from agent.bench import document as documents
from agent.bench import plan as plans
from agent.bench import processes
from agent.bench.entries import BenchDocument
from agent.bench.errors import UnusableError
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.job import AGAIN
from agent.bench.plan_runner import PlanRunner
from agent.bench.rank import write
from agent.bench.reporters import JsonReporter, Reporter, TextReporter
from agent.bench.resources import ResourceRequest, find_resources

UNUSABLE_STATUS = documents.STATUSES["unusable"]
LOOK_SECONDS = 10.0  # for the first check whether the GPUs are idle


class Parser(argparse.ArgumentParser):
    """Raises errors, because argparse exits with status 2, which means a hang here."""

    def error(self, message: str) -> NoReturn:
        """Raise UnusableError."""
        raise UnusableError(message, "--help lists the flags.")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. Raises UnusableError."""
    parser = Parser(
        prog="python -m agent.bench", description="Benchmarks with checked results (docs/bench.md)."
    )
    add = parser.add_argument
    add(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"any of {', '.join(plans.PARTS)}; default: all of the plan",
    )
    add("--plan", choices=plans.PLANS, default="full", help="size of the run (default: full)")
    add(
        "--backend",
        choices=("auto", "nccl", "gloo"),
        default="auto",
        help="auto: nccl if PyTorch sees GPUs",
    )
    add("--ranks", type=int, help="ranks on this rig; default: one a GPU, at least two with gloo")
    add("--min-bytes", help="smallest size of collectives and pairs: 8, 64K, 256M")
    add("--max-bytes", help="largest size")
    add("--factor", type=int, help="factor between sizes")
    add("--repeats", type=int, help="repeats of each measurement")
    add("--deadline", type=float, metavar="SECONDS", help="deadline of the whole run")
    add(
        "--patience",
        type=float,
        metavar="SECONDS",
        help="time after which silent ranks count as hung",
    )
    add(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="also write the file of docs/nccl-results.md to this folder",
    )
    add("--output", type=Path, metavar="FILE", help="write the document to this file")
    add("--events", action="store_true", help="print JSON lines instead of text")
    add(
        "--yield-to-jobs",
        action="store_true",
        help="do not run beside another program on the GPUs; end when one starts",
    )
    add("--nodes", type=int, default=1, metavar="N", help="number of rigs")
    add("--node-rank", type=int, default=0, metavar="K", help="number of this rig, from 0")
    add(
        "--rendezvous",
        default="",
        metavar="HOST:PORT",
        help="address of the rig with --node-rank 0",
    )
    add("--interface", default="", metavar="NAME", help="network interface between rigs")
    flags = parser.parse_args(words)
    for part in flags.parts:
        if part not in plans.PARTS:
            parser.error(f"unknown part {part!r}; expected any of {', '.join(plans.PARTS)}")
    if flags.output and flags.output.is_dir():
        parser.error(f"--output {flags.output} is a folder")
    for folder in (flags.output and flags.output.absolute().parent, flags.results):
        if folder and (problem := _find_folder_problem(folder)):
            parser.error(problem)
    return flags


def _find_folder_problem(folder: Path) -> str:
    """Return why a folder cannot be written to, before the run starts; empty if it can."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"{folder} can't be written to: {error.strerror}"


def read_changes(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the options that replace the plan's. Raises UnusableError."""
    changes: dict[str, Any] = {
        name: plans.parse_size(value)
        for name in ("min_bytes", "max_bytes")
        if (value := getattr(flags, name)) is not None
    }
    for name in ("factor", "repeats"):
        if (value := getattr(flags, name)) is not None:
            if value < 1:
                raise UnusableError(f"--{name} {value}: expected 1 or more")
            changes[name] = value
    return changes


def run(flags: argparse.Namespace, document: BenchDocument, report: Reporter) -> int:
    """Run the benchmarks; return the exit status. Raises UnusableError."""
    if importlib.util.find_spec("torch") is None:
        raise UnusableError(
            f"{sys.executable} has no PyTorch",
            "Run it with the Python of /opt/deeprig/venv, which playbooks/pytorch.yml installs.",
        )
    changes = read_changes(flags)
    request = ResourceRequest(
        flags.backend, flags.ranks, flags.nodes, flags.node_rank, flags.rendezvous, flags.interface
    )
    resources, nodes = find_resources(request)
    document["backend"], document["ranks"] = resources.backend, resources.ranks
    document["nodes"] = nodes.count
    plan = plans.build_plan(flags.plan, resources, flags.parts, changes)
    plan = plan.with_times(flags.deadline, flags.patience)
    watch = InterruptionMonitor(
        plan.deadline_seconds, watch_input=flags.events, watch_gpus=flags.yield_to_jobs
    )
    try:
        if others := watch.wait_for_other_programs(LOOK_SECONDS):
            message = f"another program works on the GPUs: {others}"
            document["problems"].append(
                documents.build_problem("environment", "yielded", message, AGAIN)
            )
            report.report_refusal(message, AGAIN)
        else:
            PlanRunner(plan, resources, nodes, document, watch, report).run()
    finally:
        watch.close()
        processes.end_descendants()
    if watch.signal:
        return 128 + watch.signal
    skipped = [part for part in plan.parts if part.skipped]
    if len(skipped) == len(plan.parts):
        raise UnusableError(f"{skipped[0].name} {skipped[0].skipped}", "No part was run.")
    return documents.compute_exit_status(document)


def save(flags: argparse.Namespace, document: BenchDocument) -> None:
    """Write the requested files."""
    if flags.output:
        write(flags.output, document)
    results = documents.extract_collectives(document)
    if flags.results and results:
        finished = datetime.fromtimestamp(document["finished_at"], tz=timezone.utc)
        name = f"{finished:%Y-%m-%dT%H%M%S}-bench-{document['backend']}.json"
        unfinished = flags.results / ".result.tmp"
        unfinished.write_text(json.dumps(results), encoding="utf-8")
        unfinished.replace(flags.results / name)


def main(words: Sequence[str]) -> int:
    """Run; return the exit status."""
    try:
        flags = parse_arguments(words)
    except UnusableError as error:
        print(f"deeprig-bench: {error}", file=sys.stderr)
        return UNUSABLE_STATUS
    processes.become_subreaper()
    report: Reporter = JsonReporter() if flags.events else TextReporter()
    document = documents.create_document(
        plan=flags.plan,
        backend=flags.backend,
        ranks=flags.ranks or 0,
        nodes=flags.nodes,
        hostname=os.uname().nodename,
        now=time.time(),
    )
    try:
        try:
            status = run(flags, document, report)
        except UnusableError as error:
            report.report_refusal(error.message, error.advice)
            document["problems"].append(
                documents.build_problem("environment", "unusable", error.message, error.advice)
            )
            status = UNUSABLE_STATUS
        document["finished_at"] = time.time()
        report.document(document)
        save(flags, document)
    except BrokenPipeError:  # the reader is gone; all started processes have been ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"deeprig-bench: {error}", file=sys.stderr)
        return UNUSABLE_STATUS
    except KeyboardInterrupt:  # before signals are handled: only a probe was started
        return 128 + signal.SIGINT
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
