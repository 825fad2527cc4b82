"""What became of a task on a host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from provision.engine.tasks import Task
from provision.errors import DeeprigError, UnreachableError


class Status(str, Enum):
    """A task's end. UNKNOWN: check mode can't tell, it depends on a change not made yet."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    IGNORED = "ignored"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


# Of a loop's items, the one that says most speaks for the task.
_RANK = [Status.SKIPPED, Status.OK, Status.UNKNOWN, Status.CHANGED, Status.IGNORED, Status.FAILED]


@dataclass(frozen=True)
class Item:
    """One call of a module: the task itself, or one turn of its loop (`label` says which)."""

    status: Status
    result: dict[str, Any]
    elapsed: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Outcome:
    """A task on a host, done. `step` is the file it stands in, `title` its name, rendered."""

    host: str
    step: str
    title: str
    task: Task
    items: tuple[Item, ...]

    @property
    def status(self) -> Status:
        """That of the item that says most."""
        return max((item.status for item in self.items), key=_RANK.index, default=Status.SKIPPED)

    @property
    def elapsed(self) -> float:
        """Seconds on the rig, all items together."""
        return sum(item.elapsed for item in self.items)


def status_of(result: Mapping[str, Any], ignore_errors: bool) -> Status:
    """The status that a module's result means."""
    if result.get("failed"):
        return Status.IGNORED if ignore_errors else Status.FAILED
    if result.get("unknown"):
        return Status.UNKNOWN
    if result.get("skipped"):
        return Status.SKIPPED
    return Status.CHANGED if result.get("changed") else Status.OK


@dataclass
class Recap:
    """A host's run in numbers, as Ansible counts them."""

    host: str
    counts: Counter[Status] = field(default_factory=Counter)
    error: str = ""
    frames: int = 0  # sent and received

    @property
    def exit_status(self) -> int:
        """What the process says of this host when it ends: 0, 2 for a failure, 4 for no session."""
        if self.counts[Status.UNREACHABLE]:
            return UnreachableError.status
        return DeeprigError.status if self.counts[Status.FAILED] else 0

    def numbers(self) -> dict[str, int]:
        """Counts by name; a task that changed something is ok, too, as Ansible counts."""
        counts = self.counts
        numbers = {
            "ok": counts[Status.OK] + counts[Status.CHANGED] + counts[Status.IGNORED],
            "changed": counts[Status.CHANGED],
            "unreachable": counts[Status.UNREACHABLE],
            "failed": counts[Status.FAILED],
            "skipped": counts[Status.SKIPPED],
            "ignored": counts[Status.IGNORED],
        }
        if counts[Status.UNKNOWN]:
            numbers["unknown"] = counts[Status.UNKNOWN]
        return numbers
