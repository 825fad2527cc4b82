"""Progress for the operator: one line for each step, and a spinner while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from lab.errors import LabError

console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print one line."""
    console.print(escape(text))


@contextmanager
def step(doing: str, usual: str = "") -> Iterator[None]:
    """Show a step: a spinner on a terminal, otherwise a line at its end (and start, if long)."""
    start = time.monotonic()
    hint = f" (usually {usual})" if usual else ""
    if usual and not console.is_terminal:
        say(f"… {doing}{hint}")
    try:
        with console.status(f"{escape(doing)}{hint}"):
            yield
    except BaseException:
        say(f"✗ {doing}")
        raise
    say(f"✓ {doing}  {time.monotonic() - start:.1f} s")


def run(
    command: Sequence[str | Path],
    log: Path,
    what: str,
    stdin: str | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command with its output in a log. Raises LabError with the end of the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write(f"\n$ {' '.join(map(str, command))}\n")
        stream.flush()
        done = subprocess.run(
            list(map(str, command)),
            stdout=stream,
            stderr=stream,
            input=stdin,
            cwd=cwd,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(
            f"    {line}" for line in log.read_text(errors="replace").splitlines()[-8:]
        )
        raise LabError(
            f"{what} failed (exit status {done.returncode}):\n{tail}\n", f"The whole log: {log}"
        )


def read_output(*command: str) -> str:
    """Return what a short command prints. Raises LabError with its error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = " ".join((done.stderr or done.stdout).split())
        raise LabError(f"`{' '.join(command)}` failed: {output}")
    return done.stdout
