"""One torchrun over several parts: started, followed, judged, and ended with all it started."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.bench import processes, torchrun
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.nccl_log import transports, uses_p2p
from agent.bench.plan import Part
from agent.bench.rank_monitor import POLL_SECONDS, RankMonitor, last_lines, tail
from agent.bench.torchrun import RigGroup

START_SECONDS = (
    180.0  # for torchrun and PyTorch to be read from a slow disk, and other rigs to come
)
ALONE_SECONDS = 5.0  # for torchrun to notice a dead rank, and end by itself
AGAIN = "Run again when it is done."
OUTPUT, JOB, LOG, NCCL_LOG = "output.json", "job.json", "torchrun.log", "nccl.%h.%p.log"


@dataclass(frozen=True)
class Job:
    """What one torchrun is to do.

    environment: beside what all ranks get. ends_after_wrong: parts after which it ends, well, where
    their values are wrong; those that remain are not begun.
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

    kind: ok, hang, died, unusable, yielded or interrupted. part: in which one, empty when between
    or before. share: what was measured (rank 0's document). ranks: a problem's "ranks".
    transports_log: what NCCL logged.
    """

    kind: str
    part: str = ""
    message: str = ""
    advice: str = ""
    share: Mapping[str, Any] = field(default_factory=dict)
    ranks: Mapping[str, Any] = field(default_factory=dict)
    transports_log: str = ""


class JobListener:
    """Told of what happens in the job. Parts by name; all do nothing here."""

    def begin(self, part: str) -> None:
        """A part begins."""

    def line(self, text: str) -> None:
        """A line for people."""

    def unusable(self, part: str, message: str, advice: str) -> None:
        """The part can't be run here; end() follows."""

    def end(self, part: str, wrong: Sequence[str]) -> None:
        """A part came to its end; what was wrong in it, in words."""


def run(
    job: Job, watch: InterruptionMonitor, listener: JobListener, patience_seconds: float
) -> Ending:
    """Run it. Whatever happens, nothing that it started is left when this returns or raises.

    patience_seconds: how long all ranks may say nothing.
    """
    with tempfile.TemporaryDirectory(prefix="deeprig-bench-") as name:
        folder = Path(name)
        try:
            process = _start(job, folder)
            following = _Following(job, folder, process, watch, listener, patience_seconds)
            ending = following.ending()
        finally:
            stuck = processes.end_descendants(watch.spared)
    if stuck:
        ending.message += (
            f"; {', '.join(map(str, stuck))} can't be killed: where it stays, the driver holds it, "
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
    more = {"TMPDIR": str(folder), **job.environment}  # torchrun leaves folders behind
    if job.backend == "nccl":  # which transports it chose; little, and only at the start
        more |= {
            "NCCL_DEBUG": "INFO",
            "NCCL_DEBUG_SUBSYS": "INIT,P2P,SHM,NET",
            "NCCL_DEBUG_FILE": str(folder / NCCL_LOG),
        }
    local_ranks = job.ranks // job.nodes.count
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            torchrun.command(local_ranks, job.nodes, job.name, folder / JOB),
            env=torchrun.environment(os.environ, job.backend, job.nodes, more),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=processes.end_with_parent,
        )  # fmt: skip


class _Following:
    """The loop that follows a job."""

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

    def ending(self) -> Ending:
        """Wait for it."""
        while True:
            over = self._process.poll() is not None  # before the news: the last of it counts
            self._take_news()
            for found in (self._from_outside, self._by_death, self._by_silence):
                if (ending := found(over)) is not None:
                    return ending
            if over:
                return self._made("ok")
            time.sleep(POLL_SECONDS)

    def _take_news(self) -> None:
        """Parts begin, say lines and end as the first rank here says, for its news are in order."""
        for rank, message in self._ranks.news():
            if rank.number != self._ranks.first:
                continue
            if (part := message.get("part")) and part != self._part and part not in self._ended:
                self._part = part
                self._listener.begin(part)
            if "line" in message:
                self._listener.line(message["line"])
            if "unusable" in message and self._part not in self._ended:
                self._listener.unusable(self._part, message["unusable"], message["advice"])
            if (part := message.get("end")) and part not in self._ended:
                self._ended.add(part)
                self._listener.end(part, message["wrong"])
                self._part = ""

    def _from_outside(self, over: bool) -> Ending | None:
        if self._watch.interrupted():
            return self._made("interrupted")
        if others := self._watch.others():
            return self._made("yielded", f"another program works on the GPUs: {others}", AGAIN)
        if self._watch.left() <= 0 and not over:
            return self._hang("not done when the run's deadline (--deadline) passed")
        return None

    def _by_death(self, over: bool) -> Ending | None:
        if over:
            return self._judged() if self._process.returncode else None
        if not self._ranks.gone():
            self._gone_at = 0.0
            return None
        self._gone_at = self._gone_at or time.monotonic()
        if time.monotonic() - self._gone_at < ALONE_SECONDS:
            return None
        gone = ", ".join(map(str, self._ranks.gone()))
        return self._made("died", f"rank {gone} is gone", _death_advice(0))

    def _judged(self) -> Ending:
        """torchrun ended with an error."""
        status = self._process.returncode
        found = torchrun.deaths(tail(self._folder / LOG, 1 << 20), self._ranks.raised())
        statuses = {death.rank: death.status for death in found}
        if found:
            first = found[0]
            message = f"rank {first.rank} {torchrun.ended(first.status)}"
            advice = _death_advice(first.status, self._log_of(first.rank))
            return self._made("died", message, advice, statuses)
        if status < 0 and len(self._ranks):
            return self._made("died", f"torchrun {torchrun.ended(status)}", _death_advice(status))
        last = (last_lines(self._folder / LOG).splitlines() or [""])[-1].strip()
        return self._made("unusable", f"torchrun {torchrun.ended(status)}: {last}")

    def _by_silence(self, over: bool) -> Ending | None:
        if over or self._ranks.gone():
            return None
        heard_at = self._ranks.heard_at()
        if not heard_at:
            if time.monotonic() - self._started_at > START_SECONDS:
                return self._hang(f"no rank began within {START_SECONDS:.0f} s")
            return None
        patience = self._patience if self._part else max(self._patience, START_SECONDS)
        if time.monotonic() - heard_at > patience:
            return self._hang(f"no rank got on for {patience:.0f} s")
        return None

    def _hang(self, message: str) -> Ending:
        ending = self._made("hang", message, stacks=True)
        ending.advice = hang_advice(self._job.backend, ending.transports_log)
        stopped = [number for number, rank in ending.ranks.items() if rank["state"][0] in "TtD"]
        if stopped:
            number = stopped[0]
            ending.message += f"; rank {number} is {ending.ranks[number]['state']}"
        elif behind := self._ranks.behind():
            at = ending.ranks[str(behind[0])]["at"]
            ending.message += f"; the others wait for rank {behind[0]}, at {at}"
        return ending

    def _made(
        self,
        kind: str,
        message: str = "",
        advice: str = "",
        statuses: Mapping[int, int] | None = None,
        *,
        stacks: bool = False,
    ) -> Ending:
        output = self._folder / OUTPUT
        share = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        log = "".join(tail(file, 1 << 20) for file in sorted(self._folder.glob("nccl.*.log")))
        described: Mapping[str, Any] = {}
        if kind in ("hang", "died", "unusable"):
            described = self._ranks.describe(statuses or {}, stacks)
        return Ending(kind, self._part, message, advice, share, described, log)

    def _log_of(self, rank: int) -> str:
        return last_lines(self._folder / f"rank-{rank}.log")


def _death_advice(status: int, log: str = "") -> str:
    if "out of memory" in log.lower():
        return "The GPU's memory is too small, or used by others: nvidia-smi shows by whom."
    if status == -9:
        return "The kernel kills programs when memory is short: dmesg says whether it did."
    return "Its last lines are in the document, as log_tail."


def hang_advice(backend: str, transports_log: str) -> str:
    """What to do about a hang: P2P is to blame only where NCCL may have used it."""
    stacks = "Where each rank waits is in the document, as stack."
    if backend != "nccl":
        return stacks
    by_pair = transports(transports_log)
    if by_pair and not uses_p2p(by_pair):
        return (
            "It hung without transfers between GPUs (P2P): look at dmesg for Xids, at the links' "
            f"errors, and at risers and their power. {stacks}"
        )
    return (
        "Run with NCCL_P2P_DISABLE=1: transfers between GPUs hang with ACS or an IOMMU on. "
        f"{stacks}"
    )
