"""Reports a run while it goes on: as text, or as JSON lines for the program that started it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from agent.bench import text_tables


class Reporter(Protocol):
    """Receives parts, one after another, with their lines, and the document at the end."""

    def begin(self, part: str, number: int, total: int) -> None:
        """A part begins: number `number` (from 1) of `total`."""

    def line(self, text: str) -> None:
        """A line of output."""

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """A part ended: ok, skipped or failed."""

    def report_refusal(self, message: str, advice: str) -> None:
        """The run cannot start; the document has the same problem."""

    def document(self, document: Mapping[str, Any]) -> None:
        """The run is over."""


def _print_error(message: str, advice: str) -> None:
    text = f"{message}. {advice}" if advice else message
    print(f"deeprig-bench: {text}", file=sys.stderr, flush=True)


class JsonReporter:
    """JSON lines on standard output; docs/bench.md has their fields."""

    def begin(self, part: str, number: int, total: int) -> None:
        """See Report."""
        self._print(event="begin", part=part, number=number, of=total)

    def line(self, text: str) -> None:
        """See Report."""
        self._print(event="line", text=text)

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """See Report."""
        self._print(event="end", part=part, status=status, seconds=round(seconds, 3), reason=reason)

    def report_refusal(self, message: str, advice: str) -> None:
        """See Report."""
        _print_error(message, advice)

    def document(self, document: Mapping[str, Any]) -> None:
        """See Report."""
        self._print(event="document", document=document)

    def _print(self, **event: Any) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


class TextReporter:
    """Lines of at most 80 columns on standard output; a refusal on standard error only."""

    def __init__(self) -> None:
        self._refused = ""

    def begin(self, part: str, number: int, total: int) -> None:
        """See Report."""
        print(f"== {part} ({number} of {total})", flush=True)

    def line(self, text: str) -> None:
        """See Report."""
        print(text, flush=True)

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """See Report."""
        why = f": {reason}" if reason else ""
        self._print_wrapped(f"   {part} {status}{why}  {seconds:.1f} s")
        print(flush=True)

    def report_refusal(self, message: str, advice: str) -> None:
        """See Report."""
        self._refused = message
        _print_error(message, advice)

    def document(self, document: Mapping[str, Any]) -> None:
        """Print the problems with advice, and a summary."""
        for problem in document["problems"]:
            if problem["message"] == self._refused:
                continue
            self._print_wrapped(f"!! {problem['part']}: {problem['message']}")
            if problem["advice"]:
                self._print_wrapped(f"   {problem['advice']}")
            for number, rank in problem["ranks"].items():
                lines = rank["log_tail"].strip().splitlines()
                last = f"; last output: {lines[-1]}" if lines else ""
                self._print_wrapped(f"   rank {number}: {rank['state']}, at {rank['at']}{last}")
        count = dict.fromkeys(("ok", "skipped", "failed"), 0)
        for part in document["parts"]:
            count[part["status"] if part["status"] in count else "failed"] += 1
        seconds = document["finished_at"] - document["started_at"]
        print(
            f"{count['ok']} parts ok, {count['skipped']} skipped, {count['failed']} failed "
            f"in {seconds:.0f} s: {document['backend']}, {document['ranks']} ranks"
        )
        sys.stdout.flush()

    @staticmethod
    def _print_wrapped(text: str) -> None:
        for line in text_tables.wrap_text(text, "   "):
            print(line)
