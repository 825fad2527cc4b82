"""A runner for the parts that the launcher runs itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from agent.bench import document as documents
from agent.bench import processes
from agent.bench.job import Ending
from agent.bench.plan import Part, Resources
from tests.torch.launch import read_words

GPUS = ["0000:04:00.0", "0000:06:00.0"]


class RecordingRunner:
    """Replaces PlanRunner; records what a part does."""

    def __init__(self, endings: Mapping[str, Ending] | None = None) -> None:
        self.document = documents.create_document(
            plan="full", backend="nccl", ranks=2, nodes=1, hostname="rig", now=0.0
        )
        self.document["gpus"] = GPUS
        self.resources = Resources("nccl", 2)
        self.environment: dict[str, str] = {}
        self.lines: list[str] = []
        self.problems: list[tuple[Any, ...]] = []
        self.over: list[tuple[Any, ...]] = []
        self._endings = list((endings or {}).values())

    def line(self, text: str) -> None:
        self.lines.append(text)

    def end(self, part: str, wrong: Sequence[str]) -> None:
        self.over.append((part, list(wrong)))

    def close(self, part: str, status: str, reason: str = "") -> None:
        self.over.append((part, status, reason))

    def add_problem(self, *words: Any, ranks: Mapping[str, Any]) -> None:
        self.problems.append((*words, ranks))

    def disable_p2p(self) -> None:
        self.environment["NCCL_P2P_DISABLE"] = "1"

    def run_job(
        self, parts: Sequence[Part], environment: Mapping[str, str], keeps_defaults: bool
    ) -> Ending:
        assert [part.name for part in parts] == ["collectives"]
        assert keeps_defaults, "P2P that is disabled already cannot be tried"
        return self._endings.pop(0)

    def remaining_seconds(self) -> float:
        return 60.0

    def is_interrupted(self) -> bool:
        return False

    def end_processes(self) -> None:
        for pid in processes.list_descendants(os.getpid()):
            if "sleep" in read_words(pid, "cmdline"):
                os.kill(pid, signal.SIGKILL)
