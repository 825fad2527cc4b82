"""The worker handles any result of a module and any input."""

from __future__ import annotations

import io
import sys
import time
import types
from typing import Any

import pytest

from provision.remote.frames import Frame, pack, unpack
from provision.remote.worker import Worker


def frames(written: bytes) -> list[Frame]:
    stream = io.BytesIO(written)
    return list(iter(lambda: unpack(stream.read), None))


def serve(sent: bytes) -> list[Frame]:
    """Let a worker read `sent` to its end; the frames it wrote."""
    writer = io.BytesIO()
    Worker(io.BytesIO(sent), writer, interval=0.01).serve()
    return frames(writer.getvalue())


def batch(*modules: str) -> bytes:
    units = [{"id": [number, 0], "module": m, "args": {}} for number, m in enumerate(modules)]
    return pack({"batch": 1, "units": units})


class StaysOpen(io.BytesIO):
    """A stream whose end comes when the worker has answered."""

    def __init__(self, sent: bytes, writer: io.BytesIO) -> None:
        super().__init__(sent)
        self._answer = writer

    def read(self, count: int | None = -1) -> bytes:
        data = super().read(count)
        while not data and not any(frame["done"] for frame in frames(self._answer.getvalue())):
            time.sleep(0.005)
        return data


def test_result_of_any_type_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = types.ModuleType("odd")
    result: dict[str, Any] = {"set": {2, 1}, "bytes": b"\xff", "tuple": (1,), "name": "\udcff"}
    monkeypatch.setattr(odd, "run", lambda args, host: result, raising=False)
    monkeypatch.setitem(sys.modules, "provision.remote.modules.odd", odd)
    writer = io.BytesIO()
    Worker(StaysOpen(batch("odd"), writer), writer, interval=0.01).serve()
    results = [entry for frame in frames(writer.getvalue()) for entry in frame["results"]]
    assert results[0]["result"] == {
        "set": [1, 2],
        "bytes": "\ufffd",
        "tuple": [1],
        "name": "\udcff",
        "changed": False,
    }


def test_invalid_frame_ends_the_worker() -> None:
    assert serve(b"\0\0\0\4abcd") == []
