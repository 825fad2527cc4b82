"""One finding of an assessment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from provision.boundary.text import clean

Status = Literal["ok", "note", "unknown", "warning", "critical"]
#: From best to worst. note: worth knowing, and nothing to do.
ORDER: tuple[Status, ...] = ("ok", "note", "unknown", "warning", "critical")


@dataclass(frozen=True)
class Finding:
    """What was read of a subject (a GPU's address, a user, a file), and what to do about it."""

    check: str
    subject: str
    status: Status
    reading: str
    advice: str = ""

    def __post_init__(self) -> None:
        """Text from a rig's files is shown in a terminal."""
        for name in ("subject", "reading"):
            object.__setattr__(self, name, clean(getattr(self, name)))

    def document(self) -> dict[str, str]:
        """As JSON has it, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value}


def merge_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Merge findings that differ only in their subject."""
    subjects: dict[Finding, list[str]] = {}
    for finding in findings:
        subjects.setdefault(replace(finding, subject=""), []).append(finding.subject)
    return [replace(finding, subject=", ".join(names)) for finding, names in subjects.items()]


def sort_worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order in which they matter."""
    return sorted(findings, key=lambda finding: -ORDER.index(finding.status))
