"""What the operator sees of a run: a line for what changed or failed, one for each step, a recap.

Lines stand in columns (host, step, status, task, seconds) and read the same in a terminal and in a
log. In a terminal, a live line shows what each rig is doing.
"""

from __future__ import annotations

import difflib
import json
import sys
import threading
import time
from collections import Counter
from typing import Any, TextIO

from rich.live import Live
from rich.table import Table
from rich.text import Text

from provision.boundary.text import clean_line
from provision.engine.outcome import Item, Outcome, Recap, Status
from provision.engine.run_log import RunLog
from provision.errors import DeeprigError, describe, shown_path
from provision.output.redaction import Redactor
from provision.output.terminal import Terminal
from provision.ssh.host_keys import ask

STYLES = {
    Status.OK: "green",
    Status.CHANGED: "yellow",
    Status.SKIPPED: "bright_black",
    Status.UNKNOWN: "magenta",
    Status.IGNORED: "cyan",
    Status.FAILED: "bold red",
    Status.UNREACHABLE: "bold red",
}
_STATUS_WIDTH = max(len(status.value) for status in Status)
_SAID = frozenset((Status.CHANGED, Status.UNKNOWN, Status.IGNORED, Status.FAILED))
PATIENCE = 2.0  # seconds after which a log says what is being waited for
REMINDER = 30.0  # seconds between two such lines of one task


class Report:
    """Tells the operator, from the threads of all hosts."""

    def __init__(
        self,
        hosts: list[str],
        redactor: Redactor,
        log: RunLog,
        stream: TextIO | None = None,
        as_json: bool = False,
        verbose: bool = False,
    ) -> None:
        self._redactor = redactor
        self._log = log
        self._json = as_json
        self._verbose = verbose
        self._lock = threading.RLock()
        self._console = Terminal(stream or sys.stdout, quiet=as_json)
        self._width = max((len(host) for host in hosts), default=4)
        self._steps: dict[str, tuple[str, Counter[Status], float]] = {}
        self._outcomes: list[dict[str, Any]] = []
        self._errors: dict[str, str] = {}
        self._doing: dict[str, str] = {}
        self._reminded: dict[tuple[str, str], float] = {}
        self._live: Live | None = None
        self._cancelled = threading.Event()

    def __enter__(self) -> Report:
        if self._console.is_terminal and not self._json:
            self._live = Live(console=self._console, transient=True, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- questions

    def ask(self, question: str) -> str:
        """Ask the operator, with the live line out of the way and every other host silent."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
            try:
                return ask(question, self._cancelled)
            finally:
                if self._live is not None:
                    self._live.start()

    def cancel(self) -> None:
        """The run ends: no answer is waited for."""
        self._cancelled.set()

    # -- what the hosts' runs tell

    def progress(self, host: str, step: str, title: str, elapsed: float, line: str) -> None:
        """A task goes on; `line` is the last that its command wrote."""
        title, line = self._redactor.text(title), self._redactor.text(line)
        with self._lock:
            if self._live is not None:
                self._doing[host] = f"{step}  {title}  {elapsed:.0f} s  {line}"
                self._redraw()
            elif elapsed >= PATIENCE:
                due = self._reminded.get((host, title), 0.0)
                if elapsed >= due:
                    self._reminded[host, title] = elapsed + REMINDER
                    self._line(host, step, "…", "bright_black", title, elapsed)

    def outcome(self, outcome: Outcome) -> None:
        """A task is done on a host."""
        with self._lock:
            self._doing.pop(outcome.host, None)
            self._reminded.pop((outcome.host, outcome.title), None)
            step, counts, seconds = self._steps.get(outcome.host, (outcome.step, Counter(), 0.0))
            if step != outcome.step:
                self._step_ends(outcome.host)
                counts, seconds = Counter(), 0.0
            counts[outcome.status] += 1
            self._steps[outcome.host] = (outcome.step, counts, seconds + outcome.elapsed)
            facts = self._record(outcome)
            self._log.outcome(facts)
            shows = any(item.result.get("shown") is not None for item in outcome.items)
            if outcome.status in _SAID or self._verbose or shows:
                self._say(outcome)
            self._show(outcome)
            self._redraw()

    def host_error(
        self,
        host: str,
        error: DeeprigError,
        status: Status = Status.UNREACHABLE,
        trace: str = "",
    ) -> None:
        """A host's run ends outside a task: never reached, lost, or broken by us (`trace`)."""
        with self._lock:
            self._doing.pop(host, None)
            self._step_ends(host)
            text = self._redactor.text(describe(error, host))
            self._errors[host] = text
            self._log.note(host, self._redactor.text(f"{status.value}: {text}\n{trace}".rstrip()))
            self._line(host, "", status.value, STYLES[status], "", None)
            self._block(text, "red")

    def recap(self, recaps: list[Recap], seconds: float) -> None:
        """The last lines; with --json, all there is."""
        with self._lock:
            for recap in recaps:
                self._step_ends(recap.host)
                self._log.note(recap.host, f"recap {json.dumps(recap.numbers())}")
            if self._json:
                document = {
                    "hosts": {
                        recap.host: {
                            **recap.numbers(),
                            "frames": recap.frames,
                            "error": self._errors.get(recap.host, ""),
                        }
                        for recap in recaps
                    },
                    "tasks": self._outcomes,
                    "seconds": round(seconds, 3),
                    "log": str(self._log.path),
                }
                print(_as_json(document), file=self._console.file)
                return
            self._console.print()
            for recap in recaps:
                line = Text(f"{recap.host:<{self._width}} : ")
                for name, number in recap.numbers().items():
                    style = STYLES[Status(name)] if number else "bright_black"
                    line.append(f"{name}={number}  ", style=style)
                self._console.print(line)
            log = shown_path(str(self._log.path))
            self._console.print(Text(f"{seconds:.1f} s, log: {log}", "bright_black"))

    # -- lines

    def _line(
        self, host: str, step: str, status: str, style: str, title: str, seconds: float | None
    ) -> None:
        line = Text(f"{host:<{self._width}}  {step:<10} ")
        line.append(f"{status:<{_STATUS_WIDTH}}", style=style)
        line.append(f"  {clean_line(self._redactor.text(title))}")
        if seconds is not None and seconds >= 0.05:
            line.append(f"  {seconds:.1f} s", style="bright_black")
        line.rstrip()
        self._console.print(line)

    def _say(self, outcome: Outcome) -> None:
        task, status = outcome.task, outcome.status
        self._line(
            outcome.host, outcome.step, status.value, STYLES[status], outcome.title, outcome.elapsed
        )
        for item in outcome.items:
            if item.status is Status.FAILED or item.status is Status.IGNORED:
                self._failure(outcome, item)
            elif len(outcome.items) > 1 and item.status is Status.CHANGED and not task.scope.no_log:
                self._block(self._redactor.text(item.label), "bright_black")
            if item.status is Status.UNKNOWN:
                self._block(self._redactor.text(str(item.result.get("unknown"))), "bright_black")

    def _failure(self, outcome: Outcome, item: Item) -> None:
        result, task = item.result, outcome.task
        error = result.get("error")
        if task.scope.no_log:
            at = error.position if isinstance(error, DeeprigError) else task.position
            error = DeeprigError("the output is hidden: no_log is set", at)
        elif not isinstance(error, DeeprigError):
            error = DeeprigError(str(result.get("msg") or "failed"), task.position)
        error.task = outcome.title
        text = describe(error, outcome.host)
        if item.label and not task.scope.no_log:
            text += f"\n  item: {item.label}"
        if not task.scope.no_log:
            for stream in ("stderr", "stdout", "exception"):
                said = str(result.get(stream) or "").strip()
                if said and not _is_in(said, text):
                    text += f"\n  {stream}:\n" + "\n".join(f"    {s}" for s in said.splitlines())
        colour = "red" if item.status is Status.FAILED else "cyan"
        self._block(self._redactor.text(text), colour)

    def _show(self, outcome: Outcome) -> None:
        """What debug shows, a diff, and warnings."""
        for item in outcome.items:
            if outcome.task.scope.no_log:
                continue
            shown = item.result.get("shown")
            if shown is not None:
                text = shown if isinstance(shown, str) else None
                if isinstance(shown, list) and all(isinstance(s, str) for s in shown):
                    text = "\n".join(shown)
                value = self._redactor.value(shown)
                self._block(self._redactor.text(text) if text else _as_json(value), "")
            for warning in item.result.get("warnings", ()):
                self._block(self._redactor.text(f"warning: {warning}"), "yellow")
            if item.result.get("diff"):
                self._diff(item.result["diff"])

    def _diff(self, diff: Any) -> None:
        for part in diff if isinstance(diff, list) else [diff]:
            before = self._redactor.text(str(part.get("before", "")))
            after = self._redactor.text(str(part.get("after", "")))
            for line in difflib.unified_diff(
                before.splitlines(),
                after.splitlines(),
                str(part.get("before_header", "before")),
                str(part.get("after_header", "after")),
                lineterm="",
            ):
                style = {"+": "green", "-": "red", "@": "cyan"}.get(line[0], "")
                self._block(line, style)

    def _block(self, text: str, style: str) -> None:
        for line in text.splitlines():
            self._console.print(Text(f"    {line}", style=style))

    def _step_ends(self, host: str) -> None:
        """One line for a step that is over."""
        if host not in self._steps:
            return
        step, counts, seconds = self._steps.pop(host)
        parts = [f"{counts[status]} {status.value}" for status in Status if counts[status]]
        worst = next(
            (s for s in (Status.FAILED, Status.UNKNOWN, Status.CHANGED) if counts[s]), Status.OK
        )
        self._line(host, step, "done", STYLES[worst], ", ".join(parts), seconds)

    def _redraw(self) -> None:
        if self._live is None:
            return
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, width=self._width)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="bright_black")
        for host, doing in sorted(self._doing.items()):
            table.add_row(Text(host), Text(clean_line(doing)))
        self._live.update(table)

    def _record(self, outcome: Outcome) -> dict[str, Any]:
        """An outcome as data, for the log and for --json."""
        quiet = bool(outcome.task.scope.no_log)
        items = []
        for item in outcome.items:
            result = {k: v for k, v in item.result.items() if not isinstance(v, DeeprigError)}
            if outcome.task.module == "setup":
                result = {"changed": False}  # facts are shown by `fab facts`, not in every log
            shown = {"censored": "no_log is set"} if quiet else self._redactor.value(result)
            label = "" if quiet else self._redactor.text(item.label)
            items.append({"status": item.status.value, "item": label, "result": shown})
        record = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "host": outcome.host,
            "step": outcome.step,
            "task": self._redactor.text(outcome.title),
            "module": outcome.task.module,
            "position": str(outcome.task.position),
            "status": outcome.status.value,
            "seconds": round(outcome.elapsed, 3),
            "items": items,
        }
        if self._json:
            self._outcomes.append(record)
        return record


def _as_json(value: Any) -> str:
    """JSON, with the text of what JSON has no form for."""
    return json.dumps(value, indent=2, default=str)


def _is_in(said: str, text: str) -> bool:
    """Whether `text` has the end of what was said, which is where the failure is."""
    shown = {line.strip() for line in text.splitlines()}
    return all(line.strip() in shown for line in said.splitlines()[-10:])
