"""Xid errors: the driver's reports that something went wrong, counted by GPU and number.

Two sources report the same Xids: NVML's events, and the kernel's log (which also has those of a GPU
that NVML has lost, or of a time without NVML). Each source is counted apart and the higher count is
used, so that no Xid is counted twice or missed. tables/xids.yml explains each number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

# "4,1042,70012345,-;NVRM: Xid (PCI:0000:04:00): 79, pid=…": a record of /dev/kmsg (kernel
# documentation, ABI/testing/dev-kmsg), or a line of a plain file or pipe. A MIG instance is named
# behind the address ("… GPU-I:05): 94"); the Xid belongs to the same GPU.
XID = re.compile(
    r"NVRM: Xid \(PCI:(?P<address>[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})"
    r"(?:\.[0-7])?(?: GPU-[^)]*)?\): (?P<xid>\d+)"
)
RECORD_MOST = 8192  # the kernel cuts longer records


@dataclass(frozen=True)
class Xid:
    """A row of tables/xids.yml. status: of the verdict about it."""

    number: int
    name: str
    status: Literal["ok", "warning", "critical"]
    meaning: str
    advice: str
    well_known: bool = False


@dataclass(frozen=True)
class XidCount:
    """How often a GPU had an Xid since the agent started. last_at: Unix seconds."""

    address: str
    xid: int
    count: int
    last_at: float | None = None


class XidCatalogue:
    """The meaning of each Xid. document: tables/xids.yml as YAML gives it."""

    def __init__(self, document: Mapping[Any, Mapping[str, Any]]) -> None:
        self._rows = {
            number: Xid(number, **row) for number, row in document.items() if number != "default"
        }
        self._default = document["default"]

    def __getitem__(self, number: int) -> Xid:
        """Return the row of a number; the default's texts for an unknown one."""
        return self._rows.get(number) or Xid(number, **self._default)

    def list_well_known(self) -> list[int]:
        """Return the numbers whose counters begin at 0, so that the first one is an increase."""
        return [row.number for row in self._rows.values() if row.well_known]


class XidCounter:
    """Counts the Xids of both sources."""

    def __init__(self, well_known: Iterable[int]) -> None:
        self._well_known = tuple(well_known)
        self._counts: dict[tuple[str, int], dict[str, int]] = {}
        self._last: dict[tuple[str, int], float] = {}

    def add(self, source: str, address: str, xid: int, now: float) -> None:
        """Count one Xid that a source (nvml or kernel) reported."""
        counts = self._counts.setdefault((address, xid), {})
        before = max(counts.values(), default=0)
        counts[source] = counts.get(source, 0) + 1
        if counts[source] > before:
            self._last[address, xid] = now

    def read(self, addresses: Iterable[str]) -> tuple[XidCount, ...]:
        """Return every count, and a zero for each well-known Xid of these GPUs."""
        zeros = {(address, xid): 0 for address in addresses for xid in self._well_known}
        counted = {key: max(counts.values()) for key, counts in self._counts.items()}
        return tuple(
            XidCount(address, xid, count, self._last.get((address, xid)))
            for (address, xid), count in sorted({**zeros, **counted}.items())
        )


class KernelLog:
    """The kernel's messages from now on. Without access it yields nothing."""

    def __init__(self, file: str = "/dev/kmsg") -> None:
        self._rest = b""
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)  # a pipe cannot seek, and needs not to

    @property
    def is_readable(self) -> bool:
        """Whether the log can be read."""
        return self._file is not None

    def read(self) -> list[tuple[str, int]]:
        """Return the Xids since the last call: PCIe address (function 0) and number."""
        xids = []
        for line in self._read_lines():
            match = XID.search(line)
            if match:
                xids.append((complete_address(match["address"]), int(match["xid"])))
        return xids

    def _read_lines(self) -> Iterable[str]:
        while self._file is not None:
            try:
                data = os.read(self._file, RECORD_MOST)
            except BlockingIOError:  # no more for now
                return
            except BrokenPipeError:  # records were overwritten before they were read
                continue
            except OSError:
                os.close(self._file)
                self._file = None
                return
            if not data:
                return
            *lines, rest = (self._rest + data).split(b"\n")
            self._rest = rest[:RECORD_MOST]  # the beginning of an endless line is enough
            yield from (line.decode(errors="replace") for line in lines)


def complete_address(short: str) -> str:
    """Return the driver's spelling of an address as sysfs writes it.

    A domain has four digits, or more if it needs them.

    >>> complete_address("0000:0A:00"), complete_address("00010000:0A:00")
    ('0000:0a:00.0', '10000:0a:00.0')
    """
    domain, bus, device = short.lower().split(":")
    return f"{int(domain, 16):04x}:{bus}:{device}.0"
