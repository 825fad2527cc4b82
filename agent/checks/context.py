"""The input of every check, and how a verdict is worded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from agent.checks.judgements import Status
from agent.checks.sample import GpuState, Sample, Verdict
from agent.readings.links import PortReading
from agent.readings.xid import XidCatalogue


class CheckRow(TypedDict):
    """A row of tables/checks.yml. advice: one text, or one for each reason."""

    subject: str
    title: str
    why: str
    advice: str | dict[str, str]


class CheckTable:
    """The rows of tables/checks.yml, by the names of checks."""

    def __init__(self, rows: Mapping[str, CheckRow]) -> None:
        self._rows = rows

    def word_verdict(
        self,
        check: str,
        subject: str,
        status: Status,
        reading: str,
        expectation: str,
        reason: str = "",
        **words: object,
    ) -> Verdict:
        """Return a verdict with the table's texts.

        reason: selects one of several advices. words: fill the braces of the advice.
        """
        row = self._rows[check]
        advice = ""
        if status != "ok":
            texts = row["advice"]
            template = texts if isinstance(texts, str) else texts[reason] if reason else ""
            advice = template.format(**words)
        title, why = row["title"], row["why"]
        return Verdict(check, subject, status, reading, expectation, title, why, advice)


@dataclass(frozen=True)
class CheckContext:
    """A sample, and what happened in the window of time before it.

    increases: how much each counter grew in the window, by (kind, subject, …). clock_jump: seconds
    of the last jump of the wall clock, while it is shown.
    """

    sample: Sample
    increases: Mapping[tuple[str, ...], float]
    checks: CheckTable
    xids: XidCatalogue
    clock_jump: float | None = None

    @cached_property
    def ports(self) -> Mapping[str, PortReading]:
        """Every device on a path, by address."""
        return {port.address: port for port in self.sample.ports}

    @property
    def word_verdict(self) -> Callable[..., Verdict]:
        """The method of the table."""
        return self.checks.word_verdict

    @property
    def thresholds(self) -> Mapping[str, float]:
        """tables/thresholds.yml, with the changes of the rig's configuration."""
        return self.sample.expectations.thresholds

    @property
    def window(self) -> str:
        """The length of the window in words."""
        return format_duration(self.thresholds["window_seconds"])

    @property
    def gpus(self) -> Iterable[GpuState]:
        """The GPUs that answer."""
        return (gpu for gpu in self.sample.gpus if gpu.up)


def format_duration(seconds: float) -> str:
    """Return a length of time for people.

    >>> format_duration(600), format_duration(3599.9)
    ('10 min', '1 h')
    """
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if round(seconds) >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def format_size(amount: float) -> str:
    """Return bytes for people.

    >>> format_size(25769803776)
    '24 GiB'
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if amount >= factor:
            return f"{amount / factor:.3g} {unit}"
    return f"{amount / 1024:.3g} KiB"


def format_speed(transfers: float) -> str:
    """Return transfers per second in the unit of the PCIe specification.

    >>> format_speed(2.5e9)
    '2.5 GT/s'
    """
    return f"{transfers / 1e9:g} GT/s"


def format_bandwidth(amount: float) -> str:
    """Return bytes per second in the unit of nccl-tests.

    >>> format_bandwidth(750e6)
    '0.75 GB/s'
    """
    return f"{amount / 1e9:.3g} GB/s"
