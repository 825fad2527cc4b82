"""Decode what a rig sends, within bounds: compressed data, JSON, and values of a type."""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from provision.boundary.text import clean
from provision.errors import DeeprigError, ExitStatus

Value = TypeVar("Value")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
GZIP = 16 + zlib.MAX_WBITS  # zlib's window bits for data with gzip's header


class BoundaryError(DeeprigError):
    """A rig sent something of another form than was requested, or too much of it."""

    status = ExitStatus.UNREACHABLE


@dataclass(frozen=True)
class Limits:
    """The most that one message may hold. size: bytes, uncompressed; values: of all kinds.

    Ten times what the largest rig sends: 12 GPUs, 3,000 packages, a full `dpkg` status.
    """

    size: int = 64 << 20
    values: int = 1_000_000
    depth: int = 48


LIMITS = Limits()


def inflate(data: bytes, limit: int, window: int = zlib.MAX_WBITS) -> bytes:
    """Decompress zlib's (or, with GZIP, gzip's) data. Raises BoundaryError past `limit` bytes."""
    content, whole = inflate_start(data, limit, window)
    if not whole:
        raise BoundaryError(f"the rig sent {len(data)} bytes that unpack to more than {limit}")
    return content


def inflate_start(data: bytes, limit: int, window: int = GZIP) -> tuple[bytes, bool]:
    """Return the first `limit` bytes of compressed data, and whether that is all of it.

    Data that was cut off gives what came before. Raises BoundaryError where it is not compressed.
    """
    unpacker = zlib.decompressobj(window)
    try:
        content = unpacker.decompress(data, limit)
        return content, unpacker.eof or not unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise BoundaryError(f"the rig sent damaged compressed data: {error}") from None


def parse_json(data: bytes | str, limits: Limits = LIMITS) -> Any:
    """Return the value of a JSON document. Raises BoundaryError.

    Strict: no NaN and no infinity, also not as a number too large for a float; UTF-8 only.
    """
    content = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(content) > limits.size:
        raise BoundaryError(f"the rig sent a document of {len(content)} bytes")
    # Each value but the first follows one of these; those in strings only make the estimate higher.
    values = sum(content.count(mark) for mark in (b",", b":", b"[", b"{"))
    if values > limits.values and _count_values(content) > limits.values:
        raise BoundaryError(f"the rig sent a document of more than {limits.values} values")
    try:
        value = json.loads(content, parse_constant=_refuse_number, parse_float=_finite_number)
    except (ValueError, RecursionError) as error:
        raise BoundaryError(f"the rig sent something that is not JSON: {error}") from None
    if _is_deeper(value, limits.depth):
        raise BoundaryError(f"the rig sent a document nested deeper than {limits.depth}")
    return value


def check_type(value: Any, kind: type[Value], what: str) -> Value:
    """Return `value` as a `kind` (a type that msgspec knows). Raises BoundaryError with the place.

    Control sequences are taken out of every text first: what is left is harmless to print.
    """
    try:
        return msgspec.convert(clean_texts(value), kind)
    except msgspec.ValidationError as error:
        raise BoundaryError(
            f"the rig's {what} can't be used: {clean(str(error))}",
            advice="Look at the rig's own console; if it was in other hands, reinstall it.",
        ) from None


def clean_texts(value: Any) -> Any:
    """Return a copy of a decoded value with every text, keys included, harmless for a terminal."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_texts(key): clean_texts(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_texts(item) for item in value]
    return value


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def _finite_number(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _count_values(content: bytes) -> int:
    """Count separators outside strings: only a document that may be over the limit pays for it."""
    outside = _STRING.sub(b"", content)
    return sum(outside.count(mark) for mark in (b",", b":", b"[", b"{"))


def _is_deeper(value: Any, depth: int) -> bool:
    """Return whether lists and mappings are nested deeper than `depth`."""
    level = [value]
    for _ in range(depth):
        level = [
            item
            for container in level
            if isinstance(container, (dict, list))
            for item in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return False
    return any(isinstance(container, (dict, list)) for container in level)
