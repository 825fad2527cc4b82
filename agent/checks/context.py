"""What a check gets, and how it words what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agent.checks.sample import GpuState, Sample, Status, Verdict
from agent.readings.links import PortReading
from agent.readings.xid import Catalogue


class Checks:
    """The rows of tables/checks.yml."""

    def __init__(self, document: Mapping[str, Mapping[str, Any]]) -> None:
        self._rows = document

    def verdict(
        self,
        check: str,
        subject: str,
        status: Status,
        reading: str,
        expectation: str,
        advice: str = "",
        **words: object,
    ) -> Verdict:
        """A verdict with the table's words; advice names one of several, words fill its braces."""
        row = self._rows[check]
        text = ""
        if status != "ok":
            given = row["advice"]
            text = (given if isinstance(given, str) else given[advice] if advice else "").format(
                **words
            )
        return Verdict(check, subject, status, reading, expectation, row["title"], row["why"], text)


@dataclass(frozen=True)
class Context:
    """A sample, and what happened in the window of time before it.

    increases: how much each counter grew in the window, by (kind, subject, …).
    """

    sample: Sample
    increases: Mapping[tuple[str, ...], float]
    checks: Checks
    xids: Catalogue
    clock_jump: float | None = None  # seconds, the last one that is still shown

    @cached_property
    def ports(self) -> Mapping[str, PortReading]:
        """Every device on a path, by address."""
        return {port.address: port for port in self.sample.ports}

    @property
    def verdict(self) -> Callable[..., Verdict]:
        """Word a verdict."""
        return self.checks.verdict

    def limit(self, name: str) -> float:
        """A row of tables/thresholds.yml, or what the rig's configuration says instead."""
        return self.sample.expectations.thresholds[name]

    @property
    def window(self) -> str:
        """The window of time in words."""
        return span(self.limit("window_seconds"))

    @property
    def gpus(self) -> Iterable[GpuState]:
        """The GPUs that answer."""
        return (gpu for gpu in self.sample.gpus if gpu.up)


def span(seconds: float) -> str:
    """A length of time for people.

    >>> span(600), span(3599.9)
    ('10 min', '1 h')
    """
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if round(seconds) >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def size(amount: float) -> str:
    """Bytes for people.

    >>> size(25769803776)
    '24 GiB'
    """
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if amount >= factor:
            return f"{amount / factor:.3g} {unit}"
    return f"{amount / 1024:.3g} KiB"


def speed(transfers: float) -> str:
    """Transfers per second as PCIe writes them.

    >>> speed(2.5e9)
    '2.5 GT/s'
    """
    return f"{transfers / 1e9:g} GT/s"


def bandwidth(amount: float) -> str:
    """Bytes per second as nccl-tests write them.

    >>> bandwidth(750e6)
    '0.75 GB/s'
    """
    return f"{amount / 1e9:.3g} GB/s"
