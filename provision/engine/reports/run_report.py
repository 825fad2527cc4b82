"""Reports a run to the operator, from the threads of all hosts."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from rich.text import Text

from provision.engine.reports.lines import REPORTED, STYLES, LineFormatter
from provision.engine.reports.live import LiveDisplay
from provision.engine.reports.records import OutcomeRecord, as_json, record_outcome, run_document
from provision.engine.reports.run_log import RunLog
from provision.engine.results import Recap, Status, TaskOutcome
from provision.errors import DeeprigError, describe, shown_path
from provision.output.redaction import Redactor
from provision.output.terminal import Terminal
from provision.ssh.host_keys import prompt_operator

PATIENCE = 2.0  # seconds after which a log reports a task that is still running
REMINDER = 30.0  # seconds between two such lines of one task


class RunReport:
    """A line for what changed or failed, one for each step, and a recap; with --json a document."""

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
        self._lines = LineFormatter(hosts, redactor)
        self._steps: dict[str, tuple[str, Counter[Status], float]] = {}
        self._outcomes: list[OutcomeRecord] = []
        self._errors: dict[str, str] = {}
        self._reminded: dict[tuple[str, str], float] = {}
        self._live: LiveDisplay | None = None
        self._cancelled = threading.Event()

    def __enter__(self) -> RunReport:
        if self._console.is_terminal and not self._json:
            self._live = LiveDisplay(self._console, self._lines.width)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def ask(self, question: str) -> str:
        """Ask the operator, with the live display out of the way and every other host silent."""
        with self._lock:
            if self._live is not None:
                self._live.stop()
            try:
                return prompt_operator(question, self._cancelled)
            finally:
                if self._live is not None:
                    self._live.start()

    def cancel(self) -> None:
        """End the run: stop waiting for an answer."""
        self._cancelled.set()

    def progress(self, host: str, step: str, title: str, elapsed: float, line: str) -> None:
        """Report a task that is running; `line` is the last that its command wrote."""
        title, line = self._redactor.text(title), self._redactor.text(line)
        with self._lock:
            if self._live is not None:
                self._live.set(host, f"{step}  {title}  {elapsed:.0f} s  {line}")
            elif elapsed >= PATIENCE and elapsed >= self._reminded.get((host, title), 0.0):
                self._reminded[host, title] = elapsed + REMINDER
                style = "bright_black"
                self._print([self._lines.status_line(host, step, "…", style, title, elapsed)])

    def outcome(self, outcome: TaskOutcome) -> None:
        """Report a task that is done on a host."""
        with self._lock:
            if self._live is not None:
                self._live.clear(outcome.host)
            self._reminded.pop((outcome.host, outcome.title), None)
            self._count(outcome)
            record = record_outcome(outcome, self._redactor)
            self._log.outcome(record)
            if self._json:
                self._outcomes.append(record)
            has_output = any(item.result.shown is not None for item in outcome.items)
            if outcome.status in REPORTED or self._verbose or has_output:
                self._print(self._lines.outcome_lines(outcome))
            self._print(self._lines.output_lines(outcome))

    def _count(self, outcome: TaskOutcome) -> None:
        """Count an outcome for its step; a new step ends the one before."""
        step, counts, seconds = self._steps.get(outcome.host, (outcome.step, Counter(), 0.0))
        if step != outcome.step:
            self._end_step(outcome.host)
            counts, seconds = Counter(), 0.0
        counts[outcome.status] += 1
        self._steps[outcome.host] = (outcome.step, counts, seconds + outcome.elapsed)

    def host_error(
        self,
        host: str,
        error: DeeprigError,
        status: Status = Status.UNREACHABLE,
        trace: str = "",
    ) -> None:
        """Report a run that ends outside a task: never reached, lost, or a fault of deeprig.

        trace: of such a fault, for the log.
        """
        with self._lock:
            if self._live is not None:
                self._live.clear(host)
            self._end_step(host)
            text = self._redactor.text(describe(error, host))
            self._errors[host] = text
            self._log.note(host, self._redactor.text(f"{status.value}: {text}\n{trace}".rstrip()))
            line = self._lines.status_line(host, "", status.value, STYLES[status], "", None)
            self._print([line, *self._lines.block(text, "red")])

    def recap(self, recaps: list[Recap], seconds: float) -> None:
        """Print the last lines; with --json, the document."""
        with self._lock:
            for recap in recaps:
                self._end_step(recap.host)
                self._log.note(recap.host, f"recap {json.dumps(recap.numbers())}")
            if self._json:
                log = str(self._log.path)
                document = run_document(recaps, self._errors, self._outcomes, seconds, log)
                print(as_json(document), file=self._console.file)
                return
            self._console.print()
            self._print(self._lines.recap_line(recap) for recap in recaps)
            log = shown_path(str(self._log.path))
            self._console.print(Text(f"{seconds:.1f} s, log: {log}", "bright_black"))

    def _end_step(self, host: str) -> None:
        if host in self._steps:
            step, counts, seconds = self._steps.pop(host)
            self._print([self._lines.step_line(host, step, counts, seconds)])

    def _print(self, lines: Iterable[Text]) -> None:
        for line in lines:
            self._console.print(line)
