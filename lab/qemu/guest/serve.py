"""Runs in the machine: one command a line on the second serial port, one answer a line.

A command: {"argv": [...], "input": "..."}; an answer: {"status": 0, "out": "...", "error": "..."}.
"""

from __future__ import annotations

import json
import os
import subprocess
import termios
import tty
from typing import Any, BinaryIO

PORT = "/dev/ttyS1"


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


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the output of a command."""
    try:
        done = subprocess.run(
            asked["argv"], input=asked.get("input"), capture_output=True, text=True, check=False
        )
    except OSError as error:
        return {"status": 127, "out": "", "error": str(error)}
    return {"status": done.returncode, "out": done.stdout, "error": done.stderr}


def send(stream: BinaryIO, document: dict[str, Any]) -> None:
    """Write one line."""
    stream.write(json.dumps(document).encode() + b"\n")
    stream.flush()


if __name__ == "__main__":
    main()
