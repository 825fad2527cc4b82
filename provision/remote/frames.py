"""Frames: the protocol of the two sides over one SSH channel.

A frame is four bytes of length (big-endian), then that many bytes of zlib-compressed JSON.

operator -> rig
    {"batch": n, "units": [unit …]}        do these in order; a unit is one module call
    {"op": "alive"}                        a sign of life, every 5 seconds
    {"op": "bye"}                          finish the unit at hand, start no other, and leave
rig -> operator
    {"waiting": {…}}                       before the hello: another run is about to end
    {"hello": {…}}                         once: Python, pid, boot_id, user id, busy, problem
    {"batch": n, "results": [result …], "current": {…} | null, "done": bool}
                                           results since the last frame; `done` ends the batch

A unit: id, module, args, check, diff, environment, ignore_errors, changed_when, failed_when (the
last two: true, false or null). A result: id, result, elapsed (seconds).
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from typing import Any, Callable, Dict, TypedDict

Frame = Dict[str, Any]


class Unit(TypedDict, total=False):
    """One module call. id: of its task, and of the item of its loop."""

    id: list[int]
    module: str
    args: dict[str, Any]
    check: bool
    diff: bool
    environment: dict[str, str]
    ignore_errors: bool
    changed_when: bool | None
    failed_when: bool | None


class UnitAnswer(TypedDict):
    """The result of a unit. elapsed: seconds."""

    id: list[int]
    result: dict[str, Any]
    elapsed: float


# Written once before the first frame: whatever came before it is not ours.
GREETING = b"\0deeprig\0"
# Seconds of silence after which either side sends a sign of life.
HEARTBEAT = 5.0
# A frame longer than this is not a frame: a login banner or a broken shell wrote to the channel.
LIMIT = 256 * 1024 * 1024


class BadFrame(Exception):
    """What was received is not a frame."""


def pack(frame: Frame) -> bytes:
    """Return a frame as bytes. NaN and infinity, for which JSON has no form, become their names."""
    try:
        text = _as_json(frame)
    except ValueError:
        text = _as_json(_make_finite(frame))
    body = zlib.compress(text.encode(), 1)
    return struct.pack(">I", len(body)) + body


def _plain(value: Any) -> Any:
    """Convert what JSON cannot represent: no result may end the session."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=_plain, allow_nan=False)


def _make_finite(value: Any) -> Any:
    """Return a copy in which NaN and infinity are texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _make_finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_make_finite(item) for item in value]
    return value


def read_body(read: Callable[[int], bytes], limit: int = LIMIT) -> bytes | None:
    """Return the next frame of a stream, still compressed; None at its end.

    `read(n)` gives exactly n bytes, fewer only at the end. Raises BadFrame past `limit` bytes.
    """
    header = read(4)
    if len(header) < 4:
        return None
    (length,) = struct.unpack(">I", header)
    if length > limit:
        raise BadFrame(header.decode("latin-1"))
    body = read(length)
    return body if len(body) == length else None


def unpack(read: Callable[[int], bytes]) -> Frame | None:
    """Return the next frame from the operator's side, which is trusted. Raises BadFrame.

    What a rig sends is unpacked by provision/ssh/worker_session.py, within bounds.
    """
    body = read_body(read)
    if body is None:
        return None
    try:
        frame: Frame = json.loads(zlib.decompress(body))
    except (zlib.error, ValueError) as error:
        raise BadFrame(str(error)) from None
    return frame
