"""What the parts that run without torchrun ask of the runner that started them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent.bench.entries import BenchDocument
from agent.bench.job import Ending, JobListener
from agent.bench.plan import Part, Resources


class Launcher(Protocol):
    """The runner of a plan, as the parts `hazards` and `tools` see it."""

    document: BenchDocument
    resources: Resources
    environment: dict[str, str]

    def run_job(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str] | None = None,
        listener: JobListener | None = None,
        keeps_defaults: bool = False,
    ) -> Ending:
        """Run one torchrun of all ranks."""
        ...

    def disable_p2p(self) -> None:
        """Disable P2P for all jobs that follow."""

    def remaining_seconds(self) -> float:
        """Return the seconds until the run's deadline."""
        ...

    def is_interrupted(self) -> bool:
        """Return whether the run must end at once."""
        ...

    def end_processes(self) -> None:
        """End what the part has started."""

    def add_problem(
        self, part: str, kind: str, message: str, advice: str = "", **more: Any
    ) -> None:
        """Add a problem to the document."""

    def line(self, text: str) -> None:
        """Print a line."""

    def end(self, part: str, wrong: Sequence[str]) -> None:
        """End a part that ran; `wrong` describes wrong values."""

    def close(self, part: str, status: str, reason: str = "") -> None:
        """End a part with this status."""
