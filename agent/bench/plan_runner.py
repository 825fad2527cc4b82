"""Runs a plan in as few torchruns as possible and fills the document."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.bench import document as documents
from agent.bench import nvidia_tools, transport_trials
from agent.bench.entries import BenchDocument
from agent.bench.interruptions import InterruptionMonitor
from agent.bench.job import Ending, Job, JobListener, run_torchrun
from agent.bench.plan import BETWEEN_GPUS, BY_LAUNCHER, Part, Plan, Resources
from agent.bench.processes import end_descendants
from agent.bench.reporters import Reporter
from agent.bench.torchrun import RigGroup

P2P_OFF = {"NCCL_P2P_DISABLE": "1"}
BY_KIND = {"hazards": transport_trials.run, "tools": nvidia_tools.run}


class PlanRunner(JobListener):
    """Runs a plan. After a part that fails, a new torchrun runs the remaining parts."""

    def __init__(
        self,
        plan: Plan,
        resources: Resources,
        nodes: RigGroup,
        document: BenchDocument,
        watch: InterruptionMonitor,
        report: Reporter,
    ) -> None:
        self.document, self.resources = document, resources
        #: Set for the jobs that follow; the transport trials may disable P2P.
        self.environment: dict[str, str] = {}
        self._plan, self._nodes, self._watch, self._report = plan, nodes, watch, report
        self._numbers = {part.name: number for number, part in enumerate(plan.parts, 1)}
        self._began: dict[str, float] = {}
        self._unusable: dict[str, str] = {}
        self._closed: set[str] = set()
        self._jobs = 0

    def run(self) -> None:
        """Run all parts in order, after reporting those that cannot run."""
        for part in self._plan.parts:
            if part.skipped:
                self._skip(part.name, part.skipped)
        while waiting := [part for part in self._plan.parts if part.name not in self._closed]:
            reason = self._run_first(waiting)
            if reason:
                for part in waiting:
                    if part.name not in self._closed:
                        self._skip(part.name, reason)

    def run_job(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str] | None = None,
        listener: JobListener | None = None,
        keeps_defaults: bool = False,
    ) -> Ending:
        """Run one torchrun of all ranks. Its measurements are not added to the document.

        keeps_defaults: ignore what earlier parts set, because the trials test each transport.
        """
        self._jobs += 1
        earlier = {} if keeps_defaults else self.environment
        is_final = keeps_defaults or self._is_p2p_off()
        ends_after_wrong = () if is_final else BETWEEN_GPUS
        job = Job(
            self.resources.backend,
            self.resources.ranks,
            parts,
            f"deeprig-{self._jobs}",
            self._nodes,
            {**earlier, **(environment or {})},
            ends_after_wrong,
        )
        return run_torchrun(
            job, self._watch, listener or JobListener(), self._plan.patience_seconds
        )

    def disable_p2p(self) -> None:
        """Disable P2P for all following parts: it may have changed values, or hung."""
        if not self._is_p2p_off():
            self.environment |= P2P_OFF
            self.line("From here on NCCL_P2P_DISABLE=1 is set.")

    def _is_p2p_off(self) -> bool:
        """Return whether P2P is disabled, or not used by the backend."""
        return self.resources.backend != "nccl" or P2P_OFF.items() <= self.environment.items()

    def remaining_seconds(self) -> float:
        """Return the seconds until the run's deadline."""
        return self._watch.remaining_seconds()

    def is_interrupted(self) -> bool:
        """Return whether the run must end at once."""
        return self._watch.is_interrupted()

    def end_processes(self) -> None:
        """End the processes that a part has started."""
        end_descendants(self._watch.spared_processes)

    def add_problem(
        self, part: str, kind: str, message: str, advice: str = "", **more: Any
    ) -> None:
        """Add a problem to the document."""
        self.document["problems"].append(
            documents.build_problem(part, kind, message, advice, **more)
        )

    # Events of jobs, and of the parts that run without one.

    def begin(self, part: str) -> None:
        """See Listener."""
        self._began[part] = time.monotonic()
        self._report.begin(part, self._numbers[part], len(self._numbers))

    def line(self, text: str) -> None:
        """See Listener."""
        self._report.line(text)

    def skip_unusable(self, part: str, message: str, advice: str) -> None:
        """See Listener."""
        self._unusable[part] = f"{message}. {advice}"
        self.add_problem(part, "unusable", message, advice)

    def end(self, part: str, wrong: Sequence[str]) -> None:
        """See Listener."""
        if wrong:
            message = "; ".join(wrong)
            self.add_problem(
                part, "wrong_values", message, documents.WRONG_VALUES_ADVICE[self.resources.backend]
            )
            if part in BETWEEN_GPUS:
                self.disable_p2p()
            self.close(part, "failed", message)
        elif part in self._unusable:
            self.close(part, "skipped", self._unusable[part])
        else:
            self.close(part, "ok")

    def close(self, part: str, status: str, reason: str = "") -> None:
        """End a part with a status: ok, skipped, failed, hang, died or yielded."""
        began = self._began.get(part)
        seconds = 0.0 if began is None else time.monotonic() - began
        self._closed.add(part)
        self.document["parts"].append(
            {"part": part, "status": status, "seconds": seconds, "reason": reason}
        )
        shown = status if status in ("ok", "skipped") else "failed"
        self._report.end(part, shown, seconds, reason)

    def _run_first(self, waiting: list[Part]) -> str:
        """Run the first part, or several together; return why no part may follow, else empty."""
        if self._watch.is_interrupted():
            return "interrupted"
        first = waiting[0].name
        if self._watch.remaining_seconds() <= 0:
            self.add_problem(
                first, "hang", "the run's deadline (--deadline) passed before it began"
            )
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
            self.line(f"starting {self.resources.ranks} ranks")  # this takes seconds
            ending = self.run_job(together, listener=self)
            documents.merge_share(self.document, ending.share)
            # If it ended before or between parts, the problem is reported for the next part.
            to_come = [part.name for part in together if part.name not in self._closed]
            first = ending.part or (to_come or [together[-1].name])[0]
        return self._judge(first, ending)

    def _judge(self, part: str, ending: Ending) -> str:
        """Add a job's problem; return why no part may follow, else empty."""
        if ending.kind == "ok":
            return ""
        if part not in self._closed:
            if part not in self._began:
                self.begin(part)
            self._check_measured(part, ending)
            has_status = ending.kind in ("hang", "died", "yielded")
            self.close(part, ending.kind if has_status else "failed", ending.message or ending.kind)
        if ending.kind == "interrupted":
            return "interrupted"
        self.add_problem(part, ending.kind, ending.message, ending.advice, ranks=ending.ranks)
        if ending.kind == "yielded":
            return "another program uses the GPUs"
        if ending.kind == "unusable":
            return ending.message
        return "a part before it failed, on several rigs" if self._nodes.count > 1 else ""

    def _check_measured(self, part: str, ending: Ending) -> None:
        """Check the measurements that a part made before it failed."""
        if wrong := documents.list_wrong_values({part: ending.share.get(part, [])}):
            advice = documents.WRONG_VALUES_ADVICE[self.resources.backend]
            self.add_problem(part, "wrong_values", "; ".join(wrong), advice)
            if part in BETWEEN_GPUS:
                self.disable_p2p()

    def _skip(self, part: str, reason: str) -> None:
        self._report.begin(part, self._numbers[part], len(self._numbers))
        self.close(part, "skipped", reason)
