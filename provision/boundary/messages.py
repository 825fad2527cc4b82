"""The frames that a worker may send (provision/remote/frames.py), as types and as a protocol.

A rig that breaks the protocol is an error of that rig: an answer to another request, one too many,
one too few, or `done` without results never passes for success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from provision.boundary.decode import BoundaryError, Limits, check_type, inflate, parse_json
from provision.boundary.patterns import BOOT_ID

Seconds = Annotated[float, Meta(ge=0, le=1e8)]
ShortText = Annotated[str, Meta(max_length=1000)]
UnitId = Annotated[list[int], Meta(min_length=2, max_length=2)]


class WorkerHello(TypedDict):
    """The started worker. busy: the holder of the rig's lock; problem: why it can't be taken."""

    python: ShortText
    pid: int
    uid: int
    boot_id: Annotated[str, Meta(pattern=BOOT_ID)]
    busy: ShortText
    problem: ShortText


class WaitingRun(TypedDict):
    """A run whose operator is gone, and for how long its end has been waited for."""

    holder: ShortText
    seconds: Seconds


class WorkUnit(TypedDict):
    """One module call for the worker (provision/remote/frames.py). id: task, item of its loop."""

    id: list[int]
    module: str
    args: dict[str, Any]
    check: bool
    diff: bool
    environment: dict[str, str]
    ignore_errors: bool
    changed_when: bool | None
    failed_when: bool | None


def make_unit(number: int, module: str, args: dict[str, Any] | None = None) -> WorkUnit:
    """Return the unit of a task without keywords. number: of the task."""
    return {
        "id": [number, 0],
        "module": module,
        "args": args or {},
        "check": False,
        "diff": False,
        "environment": {},
        "ignore_errors": False,
        "changed_when": None,
        "failed_when": None,
    }


@dataclass(frozen=True)
class UnitResult:
    """What a unit came to. values: as the module returned them; elapsed: seconds."""

    id: tuple[int, ...]
    values: dict[str, Any]
    elapsed: float


@dataclass(frozen=True)
class Progress:
    """The unit at hand. line: the last that it wrote; title: what is shown instead of its task."""

    id: tuple[int, ...]
    elapsed: float
    line: str
    title: str = ""


@dataclass(frozen=True)
class BatchNews:
    """What a batch has come to since the last frame."""

    results: Sequence[UnitResult]
    current: Progress | None
    is_done: bool


class CurrentUnit(TypedDict):
    """The unit at hand, as a frame has it."""

    id: UnitId
    elapsed: Seconds
    line: ShortText


class UnitReport(TypedDict):
    """The result of one unit, as a frame has it."""

    id: UnitId
    result: dict[str, Any]
    elapsed: Seconds


class BatchFrame(TypedDict):
    """What a batch has come to since the last frame."""

    batch: int
    results: list[UnitReport]
    current: CurrentUnit | None
    done: bool


class CheckedValues(TypedDict, total=False):
    """The keys of a result that have a type here; a module may have others of any type.

    Facts are checked apart from it, because they are large: they need only be a mapping.
    """

    failed: bool
    changed: bool
    skipped: bool
    warnings: list[str]
    boot_id: Annotated[str, Meta(pattern=BOOT_ID)]


def decode_frame(body: bytes, limits: Limits) -> dict[str, Any]:
    """Return a frame, unpacked within limits. Raises BoundaryError."""
    frame = parse_json(inflate(body, limits.size), limits)
    if not isinstance(frame, dict):
        raise BoundaryError("the rig sent a frame that is not a mapping")
    return frame


class Batch:
    """The units that were sent, and what may still come back of them, in their order."""

    def __init__(self, number: int, units: Sequence[WorkUnit]) -> None:
        self._number = number
        self._units = list(units)
        self._ids = {tuple(unit["id"]) for unit in units}
        self._next = 0
        self._failed_task: int | None = None

    def check(self, frame: dict[str, Any]) -> BatchNews:
        """Return what a frame reports. Raises BoundaryError where the protocol has another next."""
        checked = check_type({**frame, "results": _without_results(frame)}, BatchFrame, "frame")
        if checked["batch"] != self._number:
            raise BoundaryError(f"the rig answered batch {checked['batch']}, not {self._number}")
        current = checked["current"]
        if current is not None and tuple(current["id"]) not in self._ids:
            raise BoundaryError("the rig works on a task that it was not given")
        results = []
        for report, raw_report in zip(checked["results"], frame["results"], strict=True):
            self._take(report["id"], raw_report["result"])
            results.append(UnitResult(tuple(report["id"]), raw_report["result"], report["elapsed"]))
        if checked["done"]:
            self._check_end()
        progress = current and Progress(tuple(current["id"]), current["elapsed"], current["line"])
        return BatchNews(results, progress, checked["done"])

    def _take(self, identifier: list[int], result: dict[str, Any]) -> None:
        if self._next >= len(self._units):
            raise BoundaryError("the rig sent more results than it was given tasks")
        unit = self._units[self._next]
        if list(unit["id"]) != identifier:
            raise BoundaryError("the rig sent the result of another task than the next one")
        checked_values = {
            name: result[name] for name in CheckedValues.__annotations__ if name in result
        }
        check_type(checked_values, CheckedValues, f"result of {unit['module']}")
        if not isinstance(result.get("ansible_facts", {}), dict):
            raise BoundaryError("the rig sent facts that are not a mapping")
        if result.get("failed") and not unit.get("ignore_errors"):
            self._failed_task = unit["id"][0]
        self._next += 1

    def _check_end(self) -> None:
        """After a failed task nothing else runs, but the rest of its loop."""
        missing = self._units[self._next :]
        if any(self._failed_task in (None, unit["id"][0]) for unit in missing):
            raise BoundaryError(
                f"the rig reports the end of its work without {len(missing)} of "
                f"{len(self._units)} results"
            )


def _without_results(frame: dict[str, Any]) -> Any:
    """Return a frame's results with empty values, which are checked separately."""
    results = frame.get("results")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        return results
    return [
        {**result, "result": {} if isinstance(result.get("result"), dict) else None}
        for result in results
    ]
