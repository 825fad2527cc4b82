"""QEMU's machine protocol: commands to a machine that runs, and its answers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.errors import LabError

ANSWER_SECONDS = 60.0


class QmpConnection:
    """A connection to a machine's socket. check: raises LabError when QEMU has ended."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        self._socket = connect(path, check)
        self._socket.settimeout(ANSWER_SECONDS)
        self._stream = self._socket.makefile("rwb")
        self._stream.readline()  # its greeting
        self.command("qmp_capabilities")

    def close(self) -> None:
        """Close the connection; the machine goes on."""
        self._socket.close()

    def command(self, name: str, **arguments: Any) -> Any:
        """Return the answer to a command. Raises LabError."""
        request = {"execute": name, "arguments": arguments}
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        while True:
            answer = json.loads(self._stream.readline() or "{}")
            if "error" in answer or not answer:
                raise LabError(f"QEMU did not take `{name}`: {answer.get('error', 'it is gone')}")
            if "return" in answer:  # others are events
                return answer["return"]

    def monitor(self, command: str) -> str:
        """Return the answer of QEMU's monitor to a command. Raises LabError for an error."""
        answer = str(self.command("human-monitor-command", **{"command-line": command}))
        if "rror:" in answer or "nknown" in answer or "nvalid" in answer:
            raise LabError(f"QEMU did not take `{command}`: {answer.strip()}")
        return answer


def connect(path: Path, check: Callable[[], None]) -> socket.socket:
    """Connect to a socket that QEMU makes some moments after its start."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            check()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return connection
