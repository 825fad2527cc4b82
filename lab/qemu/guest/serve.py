"""Runs in the machine: one command a line on the second serial port, one answer a line.

A command: {"argv": [...], "input": "..."}; an answer: {"status": 0, "out": "...", "error": "..."}.
"""

from __future__ import annotations

import json
import os
import subprocess
import termios
import tty
from typing import Any, BinaryIO, TypedDict

PORT = "/dev/ttyS1"


class Output(TypedDict):
    """The answer to a command."""

    status: int
    out: str
    error: str


class Greeting(TypedDict):
    """The first line."""

    hello: bool


def main() -> None:
    """Print a greeting, then answer as long as the machine runs."""
    port = os.open(PORT, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port)
    termios.tcflush(port, termios.TCIFLUSH)
    with os.fdopen(port, "rb", closefd=False) as lines, os.fdopen(port, "wb") as answers:
        send(answers, {"hello": True})
        while True:
            line = lines.readline()
            if line.strip():
                send(answers, answer(json.loads(line)))


def answer(asked: dict[str, Any]) -> Output:
    """Return the output of a command."""
    try:
        done = subprocess.run(
            asked["argv"], input=asked.get("input"), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return {"status": 127, "out": "", "error": str(error)}
    return {"status": done.returncode, "out": done.stdout, "error": done.stderr}


def send(stream: BinaryIO, document: Output | Greeting) -> None:
    """Write one line."""
    stream.write(json.dumps(document).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    main()
