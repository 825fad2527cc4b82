"""A whole run: its plan in as few torchruns as it takes, and the document of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.bench import document as documents
from agent.bench import nvidia_tools, transport_trials
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.job import Ending, Job, JobListener, run
from agent.bench.plan import BETWEEN_GPUS, BY_LAUNCHER, Part, Plan, Resources
from agent.bench.processes import end_descendants
from agent.bench.reporters import Reporter
from agent.bench.torchrun import RigGroup

P2P_OFF = {"NCCL_P2P_DISABLE": "1"}
BY_KIND = {"hazards": transport_trials.run, "tools": nvidia_tools.run}


class PlanRunner(JobListener):
    """Runs a plan. After a part that fails, a new torchrun does those that remain."""

    def __init__(
        self,
        plan: Plan,
        resources: Resources,
        nodes: RigGroup,
        document: dict[str, Any],
        watch: InterruptionMonitor,
        report: Reporter,
    ) -> None:
        self.document, self.resources = document, resources
        #: Set for the jobs that follow: NCCL's hazards may demand it.
        self.environment: dict[str, str] = {}
        self._plan, self._nodes, self._watch, self._report = plan, nodes, watch, report
        self._numbers = {part.name: number for number, part in enumerate(plan.parts, 1)}
        self._began: dict[str, float] = {}
        self._unusable: dict[str, str] = {}
        self._over: set[str] = set()
        self._jobs = 0

    def go(self) -> None:
        """All parts, in order; those that can't be run are told first."""
        for part in self._plan.parts:
            if part.skipped:
                self._skip(part.name, part.skipped)
        while waiting := [part for part in self._plan.parts if part.name not in self._over]:
            reason = self._run_first(waiting)
            if reason:
                for part in waiting:
                    if part.name not in self._over:
                        self._skip(part.name, reason)

    def job(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str] | None = None,
        listener: JobListener | None = None,
        as_it_comes: bool = False,
    ) -> Ending:
        """One torchrun of all ranks. What it measured is not in the document yet.

        as_it_comes: whatever parts before it demand, as the hazards want to know each way.
        """
        self._jobs += 1
        own = {} if as_it_comes else self.environment
        anew = () if as_it_comes or self._p2p_is_off() else BETWEEN_GPUS
        job = Job(
            self.resources.backend,
            self.resources.ranks,
            parts,
            f"deeprig-{self._jobs}",
            self._nodes,
            {**own, **(environment or {})},
            anew,
        )
        return run(job, self._watch, listener or JobListener(), self._plan.patience_seconds)

    def without_p2p(self) -> None:
        """P2P may have been what changed values, or hung: no part that follows uses it."""
        if not self._p2p_is_off():
            self.environment |= P2P_OFF
            self.line("From here on NCCL_P2P_DISABLE=1 is set.")

    def _p2p_is_off(self) -> bool:
        """Whether it is, or there is none."""
        return self.resources.backend != "nccl" or P2P_OFF.items() <= self.environment.items()

    def left(self) -> float:
        """Seconds until the run's deadline."""
        return self._watch.left()

    def interrupted(self) -> bool:
        """Whether all is to end at once."""
        return self._watch.interrupted()

    def end_processes(self) -> None:
        """End what a part has started."""
        end_descendants(self._watch.spared)

    def problem(self, part: str, kind: str, message: str, advice: str = "", **more: Any) -> None:
        """Note what went wrong."""
        self.document["problems"].append(documents.problem(part, kind, message, advice, **more))

    # A job tells, and so do the parts that run without one.

    def begin(self, part: str) -> None:
        """See Listener."""
        self._began[part] = time.monotonic()
        self._report.begin(part, self._numbers[part], len(self._numbers))

    def line(self, text: str) -> None:
        """See Listener."""
        self._report.line(text)

    def unusable(self, part: str, message: str, advice: str) -> None:
        """See Listener."""
        self._unusable[part] = f"{message}. {advice}"
        self.problem(part, "unusable", message, advice)

    def end(self, part: str, wrong: Sequence[str]) -> None:
        """See Listener."""
        if wrong:
            message = "; ".join(wrong)
            self.problem(
                part, "wrong_values", message, documents.WRONG_VALUES_ADVICE[self.resources.backend]
            )
            if part in BETWEEN_GPUS:
                self.without_p2p()
            self.close(part, "failed", message)
        elif part in self._unusable:
            self.close(part, "skipped", self._unusable[part])
        else:
            self.close(part, "ok")

    def close(self, part: str, status: str, reason: str = "") -> None:
        """A part is over: ok, skipped, failed, hang, died or yielded."""
        began = self._began.get(part)
        seconds = 0.0 if began is None else time.monotonic() - began
        self._over.add(part)
        self.document["parts"].append(
            {"part": part, "status": status, "seconds": seconds, "reason": reason}
        )
        shown = status if status in ("ok", "skipped") else "failed"
        self._report.end(part, shown, seconds, reason)

    def _run_first(self, waiting: list[Part]) -> str:
        """The first part, or the first few together; why none is to follow, else empty."""
        if self._watch.interrupted():
            return "interrupted"
        first = waiting[0].name
        if self._watch.left() <= 0:
            self.problem(first, "hang", "the run's deadline (--deadline) passed before it began")
            return "no time left"
        if first in BY_LAUNCHER:
            self.begin(first)
            ending = BY_KIND[first](self, waiting[0].options)
        else:
            together = []
            for part in waiting:
                if part.name in BY_LAUNCHER:
                    break
                together.append(part)
            self.line(f"starting {self.resources.ranks} ranks")  # it takes seconds
            ending = self.job(together, listener=self)
            documents.merge(self.document, ending.share)
            # Where it ended before or between parts, the one that was to come bears the blame.
            to_come = [part.name for part in together if part.name not in self._over]
            first = ending.part or (to_come or [together[-1].name])[0]
        return self._judge(first, ending)

    def _judge(self, part: str, ending: Ending) -> str:
        """Note how a job ended; why none is to follow, else empty."""
        if ending.kind == "ok":
            return ""
        if part not in self._over:
            if part not in self._began:
                self.begin(part)
            self._look_at_kept(part, ending)
            kept = ending.kind in ("hang", "died", "yielded")
            self.close(part, ending.kind if kept else "failed", ending.message or ending.kind)
        if ending.kind == "interrupted":
            return "interrupted"
        self.problem(part, ending.kind, ending.message, ending.advice, ranks=ending.ranks)
        if ending.kind == "yielded":
            return "gave way to another program"
        if ending.kind == "unusable":
            return ending.message
        return "a part before it failed, on several rigs" if self._nodes.count > 1 else ""

    def _look_at_kept(self, part: str, ending: Ending) -> None:
        """What was measured before a part broke off may be wrong, too."""
        if wrong := documents.wrong({part: ending.share.get(part, [])}):
            advice = documents.WRONG_VALUES_ADVICE[self.resources.backend]
            self.problem(part, "wrong_values", "; ".join(wrong), advice)
            if part in BETWEEN_GPUS:
                self.without_p2p()

    def _skip(self, part: str, reason: str) -> None:
        self._report.begin(part, self._numbers[part], len(self._numbers))
        self.close(part, "skipped", reason)
