"""A check's rows: what was read, what is expected, the source of that, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["ok", "warning", "critical", "unknown"]
#: From best to worst: a check is as bad as its worst row.
ORDER: tuple[Status, ...] = ("ok", "unknown", "warning", "critical")
#: The keys that a reader of the report may rely on (docs/validation.md).
REQUIRED = ("subject", "reading", "expectation", "status")


@dataclass(frozen=True)
class Row:
    """One reading against its expectation. subject: `rig`, a GPU's address, a package …

    value: the reading as a number where it is one, higher is better; repeats: single runs' values.
    """

    subject: str
    reading: str
    expectation: str
    status: Status = "ok"
    advice: str = ""
    value: float | None = None
    minimum: float | None = None
    unit: str = ""
    repeats: tuple[float, ...] = ()

    @property
    def line(self) -> str:
        """The row as a sentence."""
        text = f"{self.subject}: {self.reading}, expected {self.expectation}"
        return f"{text}. {self.advice}" if self.advice else text

    def document(self) -> dict[str, Any]:
        """Return the row; what is optional and missing is left out."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key in REQUIRED or value not in ("", None, ())
        }


Prove = Callable[[Iterable[Row]], None]


def row(
    subject: str,
    reading: object,
    expectation: object,
    holds: bool,
    advice: str = "",
    otherwise: Status = "critical",
) -> Row:
    """Return a row that is ok if `holds`, else `otherwise` with advice."""
    status: Status = "ok" if holds else otherwise
    return Row(subject, str(reading), str(expectation), status, "" if holds else advice)


def worst(rows: Iterable[Row]) -> Status:
    """Return the worst status; unknown without rows, because nothing was read."""
    return max((row.status for row in rows), key=ORDER.index, default="unknown")


class Proof:
    """Collects the rows of one check, and fails it if one of them is critical."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(self, rows: Iterable[Row]) -> None:
        """Add the rows. Raises AssertionError with each critical one."""
        added = list(rows)
        self.rows += added
        bad = [row.line for row in added if row.status == "critical"]
        if bad:
            raise AssertionError("\n".join(bad))
