"""What is told while a run goes on: text for people, or JSON lines for who started it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from agent.bench import text_tables


class Reporter(Protocol):
    """Parts begin, say lines and end, one after another; then there is a document."""

    def begin(self, part: str, number: int, of: int) -> None:
        """A part begins, the `number`th (from 1) of so many."""

    def line(self, text: str) -> None:
        """A line for people."""

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """A part ended: ok, skipped or failed."""

    def refused(self, message: str, advice: str) -> None:
        """It can't run, which the document will tell, too."""

    def document(self, document: Mapping[str, Any]) -> None:
        """The run is over."""


def _complain(message: str, advice: str) -> None:
    print(f"deeprig-bench: {message}. {advice}" if advice else f"deeprig-bench: {message}",
          file=sys.stderr, flush=True)  # fmt: skip


class JsonReporter:
    """JSON lines on standard output; docs/bench.md has their fields."""

    def begin(self, part: str, number: int, of: int) -> None:
        """See Report."""
        self._tell(event="begin", part=part, number=number, of=of)

    def line(self, text: str) -> None:
        """See Report."""
        self._tell(event="line", text=text)

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """See Report."""
        self._tell(event="end", part=part, status=status, seconds=round(seconds, 3), reason=reason)

    def refused(self, message: str, advice: str) -> None:
        """See Report."""
        _complain(message, advice)

    def document(self, document: Mapping[str, Any]) -> None:
        """See Report."""
        self._tell(event="document", document=document)

    def _tell(self, **event: Any) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


class TextReporter:
    """Lines of at most 80 columns on standard output; why it can't run, on standard error alone."""

    def __init__(self) -> None:
        self._refused = ""

    def begin(self, part: str, number: int, of: int) -> None:
        """See Report."""
        print(f"== {part} ({number} of {of})", flush=True)

    def line(self, text: str) -> None:
        """See Report."""
        print(text, flush=True)

    def end(self, part: str, status: str, seconds: float, reason: str) -> None:
        """See Report."""
        why = f": {reason}" if reason else ""
        self._wrapped(f"   {part} {status}{why}  {seconds:.1f} s")
        print(flush=True)

    def refused(self, message: str, advice: str) -> None:
        """See Report."""
        self._refused = message
        _complain(message, advice)

    def document(self, document: Mapping[str, Any]) -> None:
        """Problems with what to do about them, and the sum of it."""
        for problem in document["problems"]:
            if problem["message"] == self._refused:
                continue
            self._wrapped(f"!! {problem['part']}: {problem['message']}")
            if problem["advice"]:
                self._wrapped(f"   {problem['advice']}")
            for number, rank in problem["ranks"].items():
                said = rank["log_tail"].strip().splitlines()
                last = f"; last said: {said[-1]}" if said else ""
                self._wrapped(f"   rank {number}: {rank['state']}, at {rank['at']}{last}")
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
    def _wrapped(text: str) -> None:
        for line in text_tables.wrap_text(text, "   "):
            print(line)
