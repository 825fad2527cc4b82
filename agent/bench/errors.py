"""Why a benchmark can't go on, with advice.

    BenchError
    └── UnusableError     asked for what can't be run here: no GPU, no PyTorch, a port in use, …

Wrong values, hangs and deaths are results, not errors: they are in the document's "problems".
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of all; `message` is what is wrong, `advice` what to do about it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(f"{message}. {advice}" if advice else message)
        self.message = message
        self.advice = advice


class UnusableError(BenchError):
    """What was asked for can't be run here; nothing was measured."""
