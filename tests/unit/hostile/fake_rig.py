"""A rig that uses deeprig's protocol over a channel, and sends what a test sets."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from provision.remote.frames import GREETING
from provision.ssh.shell import MARK

HELLO: dict[str, Any] = {
    "hello": {
        "python": "3.11.2",
        "pid": 77,
        "uid": 0,
        "boot_id": "11111111-2222-3333-4444-555555555555",
        "busy": "",
        "problem": "",
    }
}


def frame(content: Any) -> bytes:
    """Pack anything as the rig's side does, also invalid frames."""
    body = zlib.compress(json.dumps(content).encode())
    return struct.pack(">I", len(body)) + body


def news(*results: Any, done: bool = True, batch: int = 1, current: Any = None) -> bytes:
    """Pack an answer to a batch; a result is (number of the task, result)."""
    rows = [{"id": [number, 0], "result": result, "elapsed": 0.1} for number, result in results]
    return frame({"batch": batch, "results": rows, "current": current, "done": done})


class FakeChannel:
    """What the rig's side writes, in pieces; silence after the last one ends the connection."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = b""
        self.received = 0
        self.closed = False

    def settimeout(self, timeout: float) -> None:
        """Do nothing: no call here waits."""

    def exec_command(self, command: str) -> None:
        """Accept any command; begin as a shell does."""
        if MARK.decode().strip() in command:
            self._rest = MARK
            self.received -= len(MARK)

    def sendall(self, data: bytes) -> None:
        """Accept any data."""

    def recv(self, nbytes: int) -> bytes:
        if self.closed:
            return b""
        self._rest = self._rest or next(self._pieces, b"")
        part, self._rest = self._rest[:nbytes], self._rest[nbytes:]
        self.received += len(part)
        return part

    def recv_stderr(self, nbytes: int) -> bytes:
        return b""

    def recv_exit_status(self) -> int:
        return 0

    def shutdown_write(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        self.closed = True


class FakeConnection:
    """A RigConnection to the fake rig. `pieces`: what its only channel writes."""

    host = "fake"
    user = "root"
    original_host = "fake"
    is_connected = True
    connect_timeout: float | None = None

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.channel = FakeChannel(pieces)

    def open(self) -> None:
        """Do nothing: it is always open."""

    def open_channel(self, silence: float) -> FakeChannel:
        return self.channel

    def close(self) -> None:
        """Do nothing."""


def connect(*frames: bytes, hello: Any = HELLO) -> FakeConnection:
    """Return a connection to a rig whose worker greets, and then sends these bytes."""
    return FakeConnection(itertools.chain([GREETING, frame(hello)], frames))
