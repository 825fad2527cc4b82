"""The frames that a worker may send (provision/remote/frames.py), as types and as a protocol.

A rig that breaks the protocol is an error of that rig: an answer to another request, one too many,
one too few, or `done` without results never passes for success.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from provision.boundary.decode import BoundaryError, Limits, check_type, inflate, parse_json
from provision.boundary.patterns import BOOT_ID

Seconds = Annotated[float, Meta(ge=0, le=1e8)]
ShortText = Annotated[str, Meta(max_length=1000)]
UnitId = Annotated[list[int], Meta(min_length=2, max_length=2)]


class Hello(TypedDict):
    """The started worker. busy: the holder of the rig's lock; problem: why it can't be taken."""

    python: ShortText
    pid: int
    uid: int
    boot_id: Annotated[str, Meta(pattern=BOOT_ID)]
    busy: ShortText
    problem: ShortText


class Waiting(TypedDict):
    """A run whose operator is gone, and for how long its end has been waited for."""

    holder: ShortText
    seconds: Seconds


class Current(TypedDict):
    """The unit at hand."""

    id: UnitId
    elapsed: Seconds
    line: ShortText


class Told(TypedDict):
    """The result of one unit."""

    id: UnitId
    result: dict[str, Any]
    elapsed: Seconds


class News(TypedDict):
    """What a batch has come to since the last frame."""

    batch: int
    results: list[Told]
    current: Current | None
    done: bool


class Result(TypedDict, total=False):
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

    def __init__(self, number: int, units: Sequence[dict[str, Any]]) -> None:
        self._number = number
        self._units = list(units)
        self._ids = {tuple(unit["id"]) for unit in units}
        self._next = 0
        self._failed_task: int | None = None

    def check(self, frame: dict[str, Any]) -> None:
        """Raise BoundaryError where a frame is not what the protocol has next."""
        news = check_type({**frame, "results": _without_results(frame)}, News, "frame")
        if news["batch"] != self._number:
            raise BoundaryError(f"the rig answered batch {news['batch']}, not {self._number}")
        if news["current"] is not None and tuple(news["current"]["id"]) not in self._ids:
            raise BoundaryError("the rig works on a task that it was not given")
        for told, own in zip(news["results"], frame["results"], strict=True):
            self._take(told["id"], own["result"])
        if news["done"]:
            self._check_end()

    def _take(self, identifier: list[int], result: dict[str, Any]) -> None:
        if self._next >= len(self._units):
            raise BoundaryError("the rig sent more results than it was given tasks")
        unit = self._units[self._next]
        if list(unit["id"]) != identifier:
            raise BoundaryError("the rig sent the result of another task than the next one")
        known = {name: result[name] for name in Result.__annotations__ if name in result}
        check_type(known, Result, f"result of {unit['module']}")
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
    """The results of a frame with empty ones in place of each: those are checked by themselves."""
    results = frame.get("results")
    if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
        return results
    return [
        {**one, "result": {} if isinstance(one.get("result"), dict) else None} for one in results
    ]
