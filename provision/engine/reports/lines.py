"""The lines that describe an outcome, without a terminal.

A line is a text with a rich style. Lines have columns (host, step, status, task, seconds) and read
the same in a terminal and in a log.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from provision.boundary.text import clean_line
from provision.engine.reports.records import as_json
from provision.engine.results import ItemOutcome, Recap, Status, TaskOutcome
from provision.errors import DeeprigError, describe
from provision.output.redaction import Redactor

STYLES = {
    Status.OK: "green",
    Status.CHANGED: "yellow",
    Status.SKIPPED: "bright_black",
    Status.UNKNOWN: "magenta",
    Status.IGNORED: "cyan",
    Status.FAILED: "bold red",
    Status.UNREACHABLE: "bold red",
}
#: Outcomes that always get a line; the others are counted at the end of the step.
REPORTED = frozenset((Status.CHANGED, Status.UNKNOWN, Status.IGNORED, Status.FAILED))
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_STATUS_WIDTH = max(len(status.value) for status in Status)
_MARGIN = "    "


class LineFormatter:
    """Formats lines for one set of hosts; every text in them is masked."""

    def __init__(self, hosts: list[str], redactor: Redactor) -> None:
        self.width = max((len(host) for host in hosts), default=4)
        self._redactor = redactor

    def status_line(
        self, host: str, step: str, status: str, style: str, title: str, seconds: float | None
    ) -> Text:
        """Return a line in columns; `seconds` below 0.05 are left out."""
        line = Text(f"{host:<{self.width}}  {step:<10} ")
        line.append(f"{status:<{_STATUS_WIDTH}}", style=style)
        line.append(f"  {clean_line(self._redactor.text(title))}")
        if seconds is not None and seconds >= 0.05:
            line.append(f"  {seconds:.1f} s", style="bright_black")
        line.rstrip()
        return line

    def step_line(self, host: str, step: str, counts: Counter[Status], seconds: float) -> Text:
        """Return the line of a step that is over."""
        parts = [f"{counts[status]} {status.value}" for status in Status if counts[status]]
        worst = next(
            (
                status
                for status in (Status.FAILED, Status.UNKNOWN, Status.CHANGED)
                if counts[status]
            ),
            Status.OK,
        )
        return self.status_line(host, step, "done", STYLES[worst], ", ".join(parts), seconds)

    def recap_line(self, recap: Recap) -> Text:
        """Return a host's numbers."""
        line = Text(f"{recap.host:<{self.width}} : ")
        for name, number in recap.numbers().items():
            style = STYLES[Status(name)] if number else "bright_black"
            line.append(f"{name}={number}  ", style=style)
        return line

    def block(self, text: str, style: str) -> Iterator[Text]:
        """Yield a text's lines, indented."""
        for line in text.splitlines():
            yield Text(f"{_MARGIN}{line}", style=style)

    def outcome_lines(self, outcome: TaskOutcome) -> Iterator[Text]:
        """Yield the line of a task, and why it failed or is unknown."""
        task, status = outcome.task, outcome.status
        yield self.status_line(
            outcome.host, outcome.step, status.value, STYLES[status], outcome.title, outcome.elapsed
        )
        is_loop = len(outcome.items) > 1
        for item in outcome.items:
            if item.status in (Status.FAILED, Status.IGNORED):
                yield from self._failure(outcome, item)
            elif is_loop and item.status is Status.CHANGED and not task.scope.no_log:
                yield from self.block(self._redactor.text(item.label), "bright_black")
            if item.status is Status.UNKNOWN:
                reason = self._redactor.text(item.result.unknown)
                yield from self.block(reason, "bright_black")

    def _failure(self, outcome: TaskOutcome, item: ItemOutcome) -> Iterator[Text]:
        result, task = item.result, outcome.task
        error = result.error
        if task.scope.no_log:
            at = task.position if error is None else error.position
            error = DeeprigError("the output is hidden: no_log is set", at)
        elif error is None:
            error = DeeprigError(result.text("msg") or "failed", task.position)
        error.task = outcome.title
        text = describe(error, outcome.host)
        if item.label and not task.scope.no_log:
            text += f"\n  item: {item.label}"
        if not task.scope.no_log:
            for stream in ("stderr", "stdout", "exception"):
                output = result.text(stream).strip()
                if output and not _is_in(output, text):
                    text += f"\n  {stream}:\n" + "\n".join(
                        f"    {line}" for line in output.splitlines()
                    )
        colour = "red" if item.status is Status.FAILED else "cyan"
        yield from self.block(self._redactor.text(text), colour)

    def output_lines(self, outcome: TaskOutcome) -> Iterator[Text]:
        """Yield what `debug` shows, warnings and diffs."""
        if outcome.task.scope.no_log:
            return
        for item in outcome.items:
            shown = item.result.shown
            if shown is not None:
                text = shown if isinstance(shown, str) else None
                if isinstance(shown, list) and all(isinstance(line, str) for line in shown):
                    text = "\n".join(shown)
                value = as_json(self._redactor.value(shown))
                yield from self.block(self._redactor.text(text) if text else value, "")
            for warning in item.result.warnings:
                yield from self.block(self._redactor.text(f"warning: {warning}"), "yellow")
            yield from self._diff(item)

    def _diff(self, item: ItemOutcome) -> Iterator[Text]:
        for part in item.result.diff:
            part = self._redactor.value(part)
            before, after = str(part.get("before", "")), str(part.get("after", ""))
            for line in difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                str(part.get("before_header", "before")),
                str(part.get("after_header", "after")),
                lineterm="",
            ):
                yield from self.block(line, _DIFF_STYLES.get(line[0], ""))


def _is_in(output: str, text: str) -> bool:
    """Return whether `text` has the last lines of an output, which is where the failure is."""
    shown = {line.strip() for line in text.splitlines()}
    return all(line.strip() in shown for line in output.splitlines()[-10:])
