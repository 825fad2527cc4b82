"""What the operator sees of a validation: how each rig gets on, then what did not hold and why."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from provision.output.redaction import Redactor
from provision.output.terminal import Terminal
from provision.validate import baseline
from provision.validate.baseline import MetricChange
from provision.validate.documents import Event, ReportCheck, ValidationReport

STYLES = {"ok": "green", "unknown": "bright_black", "warning": "yellow", "critical": "bold red"}
DIRECTIONS = {"worse": "bold red", "better": "green", "gone": "yellow", "new": "bright_black"}
REMINDER = 15.0  # seconds between two progress lines in a log


class Watch:
    """Follows the events of all rigs: a live line a rig in a terminal, else a line now and then."""

    def __init__(
        self, hosts: Sequence[str], redactor: Redactor, quiet: bool, stream: TextIO | None = None
    ) -> None:
        self._console = Terminal(stream or sys.stdout, quiet=quiet, soft_wrap=False)
        self._redactor = redactor
        self._width = max(len(host) for host in hosts)
        self._doing = dict.fromkeys(hosts, "connecting")
        self._count: dict[str, tuple[int, int]] = {}
        self._reported_at: dict[str, float] = {host: time.monotonic() for host in hosts}
        self._lock = threading.Lock()
        self._live: Live | None = None

    def __enter__(self) -> Watch:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, refresh_per_second=8)
            self._live.start()
            self._refresh()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def event(self, host: str, event: Event) -> None:
        """Take an event of a rig's run (tests/rig/recorder.py), from its thread."""
        with self._lock:
            if event["event"] == "collected":
                self._count[host] = (0, event["checks"])
            elif event["event"] == "begin":
                self._doing[host] = event["check"].replace("::", " ")
            elif event["event"] == "progress":
                self._doing[host] = event["text"]
            elif event["event"] == "end":
                self._count[host] = (event["number"], event["of"])
                if event["status"] in ("warning", "critical"):
                    self._line(host, f"{event['status']:<8}  {event['title']}", event["status"])
            self._refresh()
            self._remind(host)

    def done(self, host: str) -> None:
        """Note the end of a rig's run."""
        with self._lock:
            self._doing.pop(host, None)
            self._refresh()

    def _remind(self, host: str) -> None:
        if self._live is None and time.monotonic() - self._reported_at[host] > REMINDER:
            self._line(host, f"          {self._progress(host)}", "unknown")

    def _line(self, host: str, text: str, status: str) -> None:
        self._reported_at[host] = time.monotonic()
        line = Text(f"{host:<{self._width}}  ")
        line.append(self._redactor.text(text), STYLES[status] if status != "unknown" else "")
        self._console.print(line, soft_wrap=True)

    def _progress(self, host: str) -> str:
        number, of = self._count.get(host, (0, 0))
        counted = f"{number:>2}/{of}  " if of else ""
        return f"{counted}{self._doing[host]}"

    def _refresh(self) -> None:
        if self._live is not None:
            lines = [f"{host:<{self._width}}  {self._progress(host)}" for host in self._doing]
            self._live.update(Text("\n".join(lines), style="bright_black", no_wrap=True))


def table(document: ValidationReport, console: Console, verbose: bool = False) -> None:
    """Print a report: one line for each check, and the rows of failed checks with advice."""
    console.print(Text(document["host"], style="bold"))
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    grid.add_column(width=8, no_wrap=True)
    grid.add_column(width=26)
    grid.add_column(ratio=1)
    for checks in _group_untried(document):
        check = checks[0]
        status = Text(check["status"], STYLES[check["status"]])
        title = check["title"] if len(checks) == 1 else f"{len(checks)} checks"
        grid.add_row(status, Text(title), _content(check, verbose))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _group_untried(document: ValidationReport) -> Iterator[list[ReportCheck]]:
    """Yield each check alone; those that a lost rig left untried, all at once."""

    def same(pair: tuple[int, ReportCheck]) -> object:
        number, check = pair
        untried = document.get("incomplete") and check["status"] == "unknown" and not check["rows"]
        return check["message"] if untried else number

    for _, group in groupby(enumerate(document["checks"]), key=same):
        yield [check for _, check in group]


def _content(check: ReportCheck, verbose: bool) -> Text:
    rows = check["rows"]
    bad = [row for row in rows if row["status"] != "ok"]
    lines = [Text(check["message"])] if check["message"] else []
    for row in rows if verbose else bad:
        line = Text(f"{row['subject']}: {row['reading']}")
        line.append(f", expected {row['expectation']}", "bright_black")
        if row.get("advice"):
            line.append(f"\n{row['advice']}", "italic")
        lines.append(line)
    if not lines and len(rows) == 1:
        lines = [Text(rows[0]["reading"])]
    elif not lines and rows:
        lines = [Text(f"{len(rows)} passed")]
    return Text("\n").join(lines)


def changes(host: str, metric_changes: Sequence[MetricChange], console: Console) -> None:
    """Print what is worse (and better) beyond noise."""
    changed = [change for change in metric_changes if change.direction != "same"]
    values = sum(1 for change in metric_changes if change.share is not None)
    if unknown := baseline.describe_unjudged(metric_changes):
        console.print(f"{host}: {unknown}", soft_wrap=True)
    if not changed:
        console.print(f"{host}: no difference to the baseline beyond noise, of {values} values")
        return
    console.print(Text(f"{host}, against the baseline", style="bold"))
    for change in sorted(changed, key=lambda change: list(DIRECTIONS).index(change.direction)):
        line = Text("  ")
        line.append(f"{change.direction:<8}", DIRECTIONS[change.direction])
        line.append(change.line)
        console.print(line, soft_wrap=True)


def summary(document: ValidationReport, where: str) -> Text:
    """Return one line: how many of what, how long, and where the reports are."""
    line = Text(f"{document['host']}: ")
    parts = [(status, count) for status, count in document["counts"].items() if count]
    for number, (status, count) in enumerate(parts):
        line.append(", " if number else "")
        line.append(f"{count} {status}", STYLES[status])
    seconds = document["finished_at"] - document["started_at"]
    if document.get("incomplete"):
        line.append(f"; {document['incomplete']}", STYLES["warning"])
    line.append(f" in {seconds:.0f} s; {where}")
    return line
