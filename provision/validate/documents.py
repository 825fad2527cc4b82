"""The report of a validation (docs/validation.md), and the events of a run, as types."""

from __future__ import annotations

from typing import Literal, TypedDict

from provision.boundary.documents import BenchReport

Status = Literal["ok", "unknown", "warning", "critical"]


class _RowTexts(TypedDict):
    subject: str
    reading: str
    expectation: str
    status: Status


class ReportRow(_RowTexts, total=False):
    """One reading of a check. What the rig did not give is not there.

    value: the reading as a number in `unit`, higher is better; repeats: single runs' values.
    """

    advice: str
    value: float
    minimum: float
    unit: str
    repeats: list[float]


class ReportCheck(TypedDict):
    """One check. seconds: how long it took."""

    check: str
    title: str
    why: str
    status: Status
    seconds: float
    message: str
    rows: list[ReportRow]


class _ReportHead(TypedDict):
    format: Literal["deeprig-validation"]
    version: Literal[1]
    host: str
    plan: str
    started_at: float
    finished_at: float
    counts: dict[str, int]
    checks: list[ReportCheck]


class ValidationReport(_ReportHead, total=False):
    """A whole report. Unix seconds. incomplete: why checks are missing."""

    bench: BenchReport | None
    stored: str
    incomplete: str


class CollectedEvent(TypedDict):
    """The number of checks to come."""

    event: Literal["collected"]
    checks: int


class BeginEvent(TypedDict):
    """A check begins."""

    event: Literal["begin"]
    check: str


class ProgressEvent(TypedDict):
    """A check goes on."""

    event: Literal["progress"]
    text: str


class EndEvent(ReportCheck):
    """A check is over; number: how many are."""

    event: Literal["end"]
    number: int
    of: int


class UnreachableEvent(TypedDict):
    """The rig does not answer."""

    event: Literal["unreachable"]
    message: str
    advice: str


class LostEvent(TypedDict):
    """The rig stopped to answer in the middle."""

    event: Literal["lost"]
    message: str
    advice: str


class ReportEvent(TypedDict):
    """The whole report, last."""

    event: Literal["report"]
    document: ValidationReport


Event = (
    CollectedEvent
    | BeginEvent
    | ProgressEvent
    | EndEvent
    | UnreachableEvent
    | LostEvent
    | ReportEvent
)
