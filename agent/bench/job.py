"""Runs one torchrun over several parts, follows it, and ends it with everything it started."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.bench import processes, torchrun
from agent.bench.entries import RankState, Share
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.nccl_log import parse_transports, uses_p2p
from agent.bench.plan import Part
from agent.bench.rank_monitor import POLL_SECONDS, RankMonitor, read_last_lines, read_tail
from agent.bench.torchrun import RigGroup

START_SECONDS = 180.0  # for loading PyTorch from a slow disk, and for other rigs to join
ALONE_SECONDS = 5.0  # for torchrun to notice a dead rank and to end
AGAIN = "Run again when it is done."
OUTPUT, JOB, LOG, NCCL_LOG = "output.json", "job.json", "torchrun.log", "nccl.%h.%p.log"


@dataclass(frozen=True)
class Job:
    """The work of one torchrun.

    environment: besides what all ranks get. ends_after_wrong: after these parts the job ends
    without an error if values are wrong; the remaining parts are not begun.
    """

    backend: str
    ranks: int
    parts: Sequence[Part]
    name: str
    nodes: RigGroup = field(default_factory=RigGroup)
    environment: Mapping[str, str] = field(default_factory=dict)
    ends_after_wrong: Sequence[str] = ()


@dataclass
class Ending:
    """How a job ended.

    kind: ok, hang, died, unusable, yielded or interrupted. part: the current part, empty between
    parts. share: the measurements (rank 0's document). ranks: a problem's "ranks".
    transports_log: NCCL's log.
    """

    kind: str
    part: str = ""
    message: str = ""
    advice: str = ""
    share: Share = field(default_factory=Share)
    ranks: Mapping[str, RankState] = field(default_factory=dict)
    transports_log: str = ""


class JobListener:
    """Receives the events of a job. Parts are names; the methods here do nothing."""

    def begin(self, part: str) -> None:
        """A part begins."""

    def line(self, text: str) -> None:
        """A line of output."""

    def skip_unusable(self, part: str, message: str, advice: str) -> None:
        """The part cannot run here; end() follows."""

    def end(self, part: str, wrong: Sequence[str]) -> None:
        """A part ends; `wrong` describes wrong values."""


def run_torchrun(
    job: Job, watch: InterruptionMonitor, listener: JobListener, patience_seconds: float
) -> Ending:
    """Run a job. When this returns or raises, no process that it started is left.

    patience_seconds: how long all ranks may be silent.
    """
    with tempfile.TemporaryDirectory(prefix="deeprig-bench-") as name:
        folder = Path(name)
        try:
            process = _start(job, folder)
            following = _Following(job, folder, process, watch, listener, patience_seconds)
            ending = following.wait()
        finally:
            stuck = processes.end_descendants(watch.spared_processes)
    if stuck:
        ending.message += (
            f"; {', '.join(map(str, stuck))} can't be killed: if it stays, the driver holds it, "
            "and only a reboot ends it"
        )
    return ending


def _start(job: Job, folder: Path) -> subprocess.Popen[bytes]:
    description = {
        "backend": job.backend,
        "output": str(folder / OUTPUT),
        "folder": str(folder),
        "ends_with_parent": True,
        "ends_after_wrong": list(job.ends_after_wrong),
        "parts": [{"part": part.name, **part.options} for part in job.parts],
    }
    (folder / JOB).write_text(json.dumps(description), encoding="utf-8")
    more = {"TMPDIR": str(folder), **job.environment}  # torchrun does not delete its folders
    if job.backend == "nccl":  # a few lines about transports, at the start only
        more |= {
            "NCCL_DEBUG": "INFO",
            "NCCL_DEBUG_SUBSYS": "INIT,P2P,SHM,NET",
            "NCCL_DEBUG_FILE": str(folder / NCCL_LOG),
        }
    local_ranks = job.ranks // job.nodes.count
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            torchrun.build_command(local_ranks, job.nodes, job.name, folder / JOB),
            env=torchrun.build_environment(os.environ, job.backend, job.nodes, more),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=processes.end_with_parent,
        )


class _Following:
    """Follows a job."""

    def __init__(
        self,
        job: Job,
        folder: Path,
        process: subprocess.Popen[bytes],
        watch: InterruptionMonitor,
        listener: JobListener,
        patience_seconds: float,
    ) -> None:
        self._job, self._folder, self._process = job, folder, process
        self._watch, self._listener, self._patience = watch, listener, patience_seconds
        self._ranks = RankMonitor(folder)
        self._part = ""
        self._ended: set[str] = set()
        self._started_at = time.monotonic()
        self._gone_at = 0.0

    def wait(self) -> Ending:
        """Wait until the job ends, or must end."""
        while True:
            is_over = self._process.poll() is not None  # first, so that no message is missed
            self._handle_messages()
            for find in (self._find_interruption, self._find_death, self._find_silence):
                if (ending := find(is_over)) is not None:
                    return ending
            if is_over:
                return self._end("ok")
            time.sleep(POLL_SECONDS)

    def _handle_messages(self) -> None:
        """Report parts and lines of this rig's first rank, whose messages are in order."""
        for rank, message in self._ranks.read_messages():
            if rank.number != self._ranks.first:
                continue
            if (part := message.get("part")) and part != self._part and part not in self._ended:
                self._part = part
                self._listener.begin(part)
            if "line" in message:
                self._listener.line(message["line"])
            if "unusable" in message and self._part not in self._ended:
                self._listener.skip_unusable(self._part, message["unusable"], message["advice"])
            if (part := message.get("end")) and part not in self._ended:
                self._ended.add(part)
                self._listener.end(part, message["wrong"])
                self._part = ""

    def _find_interruption(self, is_over: bool) -> Ending | None:
        if self._watch.is_interrupted():
            return self._end("interrupted")
        if others := self._watch.find_other_programs():
            return self._end("yielded", f"another program works on the GPUs: {others}", AGAIN)
        if self._watch.remaining_seconds() <= 0 and not is_over:
            return self._end_hung("not done when the run's deadline (--deadline) passed")
        return None

    def _find_death(self, is_over: bool) -> Ending | None:
        if is_over:
            return self._explain_error() if self._process.returncode else None
        if not self._ranks.list_gone():
            self._gone_at = 0.0
            return None
        self._gone_at = self._gone_at or time.monotonic()
        if time.monotonic() - self._gone_at < ALONE_SECONDS:
            return None
        gone = ", ".join(map(str, self._ranks.list_gone()))
        return self._end("died", f"rank {gone} is gone", _advise_after_death(0))

    def _explain_error(self) -> Ending:
        """Explain why torchrun ended with an error."""
        status = self._process.returncode
        log = read_tail(self._folder / LOG, 1 << 20)
        deaths = torchrun.find_deaths(log, self._ranks.list_raised())
        statuses = {death.rank: death.status for death in deaths}
        if deaths:
            first = deaths[0]
            message = f"rank {first.rank} {torchrun.describe_status(first.status)}"
            advice = _advise_after_death(first.status, self._read_log(first.rank))
            return self._end("died", message, advice, statuses)
        if status < 0 and len(self._ranks):
            return self._end(
                "died", f"torchrun {torchrun.describe_status(status)}", _advise_after_death(status)
            )
        last = (read_last_lines(self._folder / LOG).splitlines() or [""])[-1].strip()
        return self._end("unusable", f"torchrun {torchrun.describe_status(status)}: {last}")

    def _find_silence(self, is_over: bool) -> Ending | None:
        if is_over or self._ranks.list_gone():
            return None
        heard_at = self._ranks.find_last_message()
        if not heard_at:
            if time.monotonic() - self._started_at > START_SECONDS:
                return self._end_hung(f"no rank began within {START_SECONDS:.0f} s")
            return None
        patience = self._patience if self._part else max(self._patience, START_SECONDS)
        if time.monotonic() - heard_at > patience:
            return self._end_hung(f"no rank made progress for {patience:.0f} s")
        return None

    def _end_hung(self, message: str) -> Ending:
        ending = self._end("hang", message, stacks=True)
        ending.advice = advise_after_hang(self._job.backend, ending.transports_log)
        stopped = [number for number, rank in ending.ranks.items() if rank["state"][0] in "TtD"]
        if stopped:
            number = stopped[0]
            ending.message += f"; rank {number} is {ending.ranks[number]['state']}"
        elif behind := self._ranks.list_behind():
            at = ending.ranks[str(behind[0])]["at"]
            ending.message += f"; the others wait for rank {behind[0]}, at {at}"
        return ending

    def _end(
        self,
        kind: str,
        message: str = "",
        advice: str = "",
        statuses: Mapping[int, int] | None = None,
        *,
        stacks: bool = False,
    ) -> Ending:
        output = self._folder / OUTPUT
        share: Share = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        log = "".join(read_tail(file, 1 << 20) for file in sorted(self._folder.glob("nccl.*.log")))
        described: Mapping[str, RankState] = {}
        if kind in ("hang", "died", "unusable"):
            described = self._ranks.describe(statuses or {}, stacks)
        return Ending(kind, self._part, message, advice, share, described, log)

    def _read_log(self, rank: int) -> str:
        return read_last_lines(self._folder / f"rank-{rank}.log")


def _advise_after_death(status: int, log: str = "") -> str:
    if "out of memory" in log.lower():
        return "The GPU's memory is too small, or other programs use it: nvidia-smi lists them."
    if status == -9:
        return "The kernel kills programs when memory is short: see dmesg."
    return "Its last lines are in the document, as log_tail."


def advise_after_hang(backend: str, transports_log: str) -> str:
    """Return what to do about a hang: P2P can be the cause only if NCCL may have used it."""
    stacks = "The document shows where each rank waits, as stack."
    if backend != "nccl":
        return stacks
    by_pair = parse_transports(transports_log)
    if by_pair and not uses_p2p(by_pair):
        return (
            "It hung without transfers between GPUs (P2P): check dmesg for Xids, the links' "
            f"errors, and the risers and their power. {stacks}"
        )
    return (
        "Run with NCCL_P2P_DISABLE=1: transfers between GPUs hang with ACS or an IOMMU on. "
        f"{stacks}"
    )
