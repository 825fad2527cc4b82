"""What became of module calls and tasks: typed results, from the worker to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from provision.engine.tasks import Task
from provision.errors import DeeprigError, ExitStatus


class Status(str, Enum):
    """How a task ended. UNKNOWN: check mode cannot predict the outcome."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    IGNORED = "ignored"
    FAILED = "failed"
    UNREACHABLE = "unreachable"


# The status of a loop is that of the item with the highest rank.
_RANK = [Status.SKIPPED, Status.OK, Status.UNKNOWN, Status.CHANGED, Status.IGNORED, Status.FAILED]


@dataclass(frozen=True)
class Result:
    """The result of one call of a module.

    values: what the module returned, under its own names; `register` keeps them with the flags.
    unknown: why check mode cannot predict the outcome; empty where it can. would_run: a command
    that check mode did not run. error: a failure that has a position in a playbook. shown: what
    `debug` shows. facts: variables of the host from now on (`ansible_facts`).
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    changed: bool = False
    failed: bool = False
    skipped: bool = False
    unknown: str = ""
    would_run: bool = False
    error: DeeprigError | None = None
    shown: Any = None

    @classmethod
    def of_module(cls, values: Mapping[str, Any]) -> Result:
        """Return the result that a module on the rig reported; the boundary checked its types."""
        rest = {name: value for name, value in values.items() if name not in _FLAGS}
        return cls(
            rest,
            changed=bool(values.get("changed")),
            failed=bool(values.get("failed")),
            skipped=bool(values.get("skipped")),
            unknown=str(values.get("unknown") or ""),
            would_run=bool(values.get("would_run")),
        )

    @classmethod
    def of_failure(cls, error: DeeprigError) -> Result:
        """Return the result of a task that failed before anything was sent."""
        return cls({"msg": error.message}, failed=True, error=error)

    @classmethod
    def of_skip(cls, **values: Any) -> Result:
        """Return the result of a call whose conditions are false."""
        reason = {"skip_reason": "Conditional result was False"}
        return cls({**reason, **values}, skipped=True)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The variables that the module found or set."""
        facts: Mapping[str, Any] = self.values.get("ansible_facts") or {}
        return facts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the module warns of."""
        return tuple(self.values.get("warnings", ()))

    @property
    def diff(self) -> list[Mapping[str, Any]]:
        """Each file's content before and after, as the module reports it."""
        diff = self.values.get("diff")
        parts: list[Mapping[str, Any]] = diff if isinstance(diff, list) else [diff] if diff else []
        return parts

    def text(self, name: str) -> str:
        """Return a value as text (`msg`, `stderr` …); empty where the module did not return it."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def as_registered(self) -> dict[str, Any]:
        """Return the value of the variable that `register` names."""
        flags = {"changed": self.changed, "failed": self.failed}
        if self.skipped:
            flags["skipped"] = True
        return {**self.values, **flags}

    def as_record(self) -> dict[str, Any]:
        """Return the result for the log and for --json."""
        extras: dict[str, Any] = {}
        if self.unknown:
            extras["unknown"] = self.unknown
        if self.would_run:
            extras["would_run"] = True
        if self.shown is not None:
            extras["shown"] = self.shown
        return {**self.as_registered(), **extras}

    def make_unknown(self, reason: str) -> Result:
        """Return the same result, whose outcome check mode cannot predict."""
        return replace(self, changed=False, failed=False, unknown=reason)

    def status(self, ignore_errors: bool) -> Status:
        """Return the status that it means for its task."""
        if self.failed:
            return Status.IGNORED if ignore_errors else Status.FAILED
        if self.unknown:
            return Status.UNKNOWN
        if self.skipped:
            return Status.SKIPPED
        return Status.CHANGED if self.changed else Status.OK


_FLAGS = frozenset(("changed", "failed", "skipped", "unknown", "would_run"))


@dataclass(frozen=True)
class ItemOutcome:
    """One call of a module, judged: the task itself, or one item of its loop (`label`).

    elapsed: seconds on the rig.
    """

    status: Status
    result: Result
    elapsed: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class TaskOutcome:
    """A task that is done on a host. step: the playbook file; title: the rendered name."""

    host: str
    step: str
    title: str
    task: Task
    items: tuple[ItemOutcome, ...]

    @property
    def status(self) -> Status:
        """That of the item with the highest rank."""
        return max((item.status for item in self.items), key=_RANK.index, default=Status.SKIPPED)

    def describe_failure(self) -> str:
        """Return the title and the message of the call that failed; empty where none did."""
        for item in self.items:
            if item.status is Status.FAILED:
                result = item.result
                why = result.text("msg") or result.text("stderr")
                return self.title if self.task.scope.no_log else f"{self.title}: {why.strip()}"
        return ""

    @property
    def elapsed(self) -> float:
        """Seconds on the rig, all items together."""
        return sum(item.elapsed for item in self.items)


@dataclass
class Recap:
    """A host's run in numbers, as Ansible counts them.

    frames: batches sent, their ends, and greetings. status: of a run that failed.
    """

    host: str
    counts: Counter[Status] = field(default_factory=Counter)
    error: str = ""
    frames: int = 0
    status: ExitStatus = ExitStatus.ERROR

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status for this host: 0, or that of a failure or of a host without session."""
        if self.counts[Status.UNREACHABLE]:
            return ExitStatus.UNREACHABLE
        return self.status if self.counts[Status.FAILED] else ExitStatus.OK

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
