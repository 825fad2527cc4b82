"""The jobs of a run, and their environment; jobs are simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from agent.bench import document as documents
from agent.bench import plan_runner
from agent.bench.entries import BenchDocument
from agent.bench.job import Ending, Job, JobListener
from agent.bench.plan import Part, Plan, Resources
from agent.bench.plan_runner import PlanRunner
from agent.bench.reporters import Reporter
from agent.bench.torchrun import RigGroup

OFF = {"NCCL_P2P_DISABLE": "1"}
WRONG = ["GPU 0 to 1: 7 wrong values"]


class Silent:
    """A reporter without output."""

    def __getattr__(self, name: str) -> Any:
        return lambda *words: None


class Patient(Silent):
    """Replaces InterruptionMonitor."""

    def remaining_seconds(self) -> float:
        return 60.0

    def is_interrupted(self) -> bool:
        return False


class Jobs:
    """Replaces run_torchrun: parts succeed, or end as the test sets."""

    def __init__(self, wrong: Mapping[str, Sequence[str]], hangs: Mapping[str, Any]) -> None:
        self.ran: list[tuple[list[str], dict[str, str]]] = []
        self._wrong, self._hangs = wrong, hangs

    def run(self, job: Job, watch: Any, listener: JobListener, patience: float) -> Ending:
        done: list[str] = []
        self.ran.append((done, dict(job.environment)))
        for part in job.parts:
            done.append(part.name)
            listener.begin(part.name)
            if part.name in self._hangs:
                share: Any = {part.name: self._hangs[part.name]}
                return Ending("hang", part.name, "no rank got on", share=share)
            # Without P2P what it broke is right.
            wrong = [] if OFF.items() <= job.environment.items() else self._wrong.get(part.name, [])
            listener.end(part.name, wrong)
            if wrong and part.name in job.ends_after_wrong:
                break
        return Ending("ok")


def run_plan(
    monkeypatch: pytest.MonkeyPatch,
    *parts: str,
    wrong: Mapping[str, Sequence[str]] | None = None,
    hangs: Mapping[str, Any] | None = None,
    backend: str = "nccl",
) -> tuple[Jobs, BenchDocument]:
    """Run these parts; return the jobs and the document."""
    jobs = Jobs(wrong or {}, hangs or {})
    monkeypatch.setattr(plan_runner, "run_torchrun", jobs.run)
    document = documents.create_document(
        plan="full", backend=backend, ranks=2, nodes=1, hostname="rig", now=0.0
    )
    plan = Plan(tuple(Part(name) for name in parts), 60.0, 10.0)
    watch: Any = Patient()
    report: Reporter = Silent()
    PlanRunner(plan, Resources(backend, 2), RigGroup(), document, watch, report).run()
    return jobs, document


@pytest.mark.parametrize("part", ["peer", "collectives", "ddp"])
def test_p2p_is_off_for_all_parts_after_wrong_values(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    jobs, document = run_plan(monkeypatch, "gemm", part, "moe", "decode", wrong={part: WRONG})
    assert jobs.ran == [(["gemm", part], {}), (["moe", "decode"], OFF)]
    statuses = {entry["part"]: entry["status"] for entry in document["parts"]}
    assert statuses == {"gemm": "ok", part: "failed", "moe": "ok", "decode": "ok"}


def test_p2p_stays_on_after_wrong_values_without_gpu_transfers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, _ = run_plan(monkeypatch, "gemm", "collectives", "ddp", wrong={"gemm": WRONG})
    assert jobs.ran == [(["gemm", "collectives", "ddp"], {})]
    jobs, _ = run_plan(
        monkeypatch, "collectives", "ddp", wrong={"collectives": WRONG}, backend="gloo"
    )
    assert jobs.ran == [(["collectives", "ddp"], {})]


def test_measurements_before_a_hang_are_kept_and_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finished: Any = {"collective": "all_reduce", "sizes": [{"size_bytes": 8, "wrong_values": 3}]}
    jobs, document = run_plan(monkeypatch, "collectives", "ddp", hangs={"collectives": [finished]})
    assert document["collectives"] == [finished]
    assert [problem["kind"] for problem in document["problems"]] == ["wrong_values", "hang"]
    assert jobs.ran == [(["collectives"], {}), (["ddp"], OFF)]
