"""Every error that deeprig raises on purpose, and how it is shown.

    DeeprigError
    ├── SourceError         a playbook, an inventory or a variable file that is wrong as written
    ├── RenderError         a template that can't be rendered with the variables it has
    ├── PatternError        -H names no host
    ├── UnreachableError    no session with the rig: address, host key, login, sudo, Python
    │   └── RefusedError    it answers, and lets this login in by nothing that we have
    ├── LostError           the session ended in the middle; what ran may or may not be done
    │   └── HungError       a command printed nothing for too long; the rig may still answer
    └── InternalError       a fault of deeprig itself

They carry a position (file:line:column) where there is one, and advice: what to do next. The edge
(`provision.cli.executor`) catches them, prints `describe(error)` and exits with a status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


@dataclass(frozen=True)
class Position:
    """A place in a file a person wrote; line and column count from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{shown_path(self.path)}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """Return the line with a caret under the column; empty when the file can't be read."""
        try:
            text = Path(self.path).read_text(encoding="utf-8").splitlines()[self.line - 1]
        except (OSError, UnicodeDecodeError, IndexError):
            return ""
        gutter = f"{self.line:>5} | "
        # A tab is shown as one blank, so that the caret is in the right column.
        return (
            f"{gutter}{text.replace(chr(9), ' ')}\n"
            f"{' ' * (len(gutter) - 2)}| {' ' * (self.column - 1)}^"
        )


class ExitStatus(IntEnum):
    """The exit statuses of all commands; of several hosts', the highest counts."""

    OK = 0  # done; every check passed
    FINDINGS = 1  # a check is critical or got worse, or a benchmark failed
    ERROR = 2  # a task failed, or the input is wrong: options, hosts, inventory, playbook
    INTERNAL = 3  # a fault of deeprig itself
    UNREACHABLE = 4  # no session with a rig, or the session was lost
    INTERRUPTED = 130  # Ctrl-C
    PIPE_CLOSED = 141  # the reader of the output is gone


class DeeprigError(Exception):
    """Base class. `message` is one sentence; `advice` is what to do next."""

    status = ExitStatus.ERROR

    def __init__(
        self,
        message: str,
        position: Position | None = None,
        advice: str = "",
        task: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.advice = advice
        self.task = task


class SourceError(DeeprigError):
    """A file that is wrong as it is written: found before anything is sent to a rig."""


class RenderError(DeeprigError):
    """A template or condition that can't be evaluated: an undefined variable, a wrong type."""

    undefined = False  # whether a variable is missing


class PatternError(DeeprigError):
    """A host pattern that matches nothing in the inventory."""


class UnreachableError(DeeprigError):
    """The rig cannot be reached; this attempt changed nothing."""

    status = ExitStatus.UNREACHABLE


class OtherSystemError(UnreachableError):
    """The host answers, but it does not run Linux."""


class RefusedError(UnreachableError):
    """The rig answers, but no key or password that we have opens."""


class LostError(DeeprigError):
    """The session ended in the middle of work."""

    status = ExitStatus.UNREACHABLE


class HungError(LostError):
    """A command printed nothing for too long."""


class InternalError(DeeprigError):
    """A fault of deeprig itself: an exception that no code expects."""

    status = ExitStatus.INTERNAL

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"deeprig itself failed here: {type(error).__name__}: {error}",
            advice="This is a bug of deeprig; please report it. Other hosts go on, and what is "
            "done on this one stays done.",
        )


def shown_path(path: str) -> str:
    """Return a path relative to the working directory when it lies below it."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def describe(error: DeeprigError, host: str = "") -> str:
    """Return an error as the operator reads it: place, message, task, host, excerpt, advice."""
    where = f"{error.position}: " if error.position else ""
    lines = [f"{where}{error.message}"]
    if error.task:
        lines.append(f"  task: {error.task}")
    if host:
        lines.append(f"  host: {host}")
    if error.position and (excerpt := error.position.excerpt()):
        lines.append(excerpt)
    if error.advice:
        lines.append(f"  {error.advice}")
    return "\n".join(lines)
