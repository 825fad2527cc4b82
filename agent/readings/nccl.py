"""Results of collective benchmarks, which runs write to /var/lib/deeprig/nccl.

Each run writes one JSON file, `NAME.json`, under another name and renames it; docs/nccl-results.md
describes format FORMAT_VERSION. A file that cannot be read is ignored, and reported with the
reason. The newest result of each collective, backend and number of ranks is used.
"""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.readings.pcie import ADDRESS, raise_exhausted

FORMAT, FORMAT_VERSION = "deeprig-collectives", 1
#: busbw = algbw x factor of the number of ranks n (nccl-tests, doc/PERFORMANCE.md).
COLLECTIVES = (
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
    "broadcast",
    "reduce",
    "sendrecv",
)
BACKENDS = ("nccl", "gloo")
FILE_MOST_BYTES = 4 << 20
FILES_MOST = 1000
VALUE_MOST = 60  # characters of an invalid value in a reason
NUMBER_MOST = 2**63  # far above any size, bandwidth or time; sums of such numbers stay finite


@dataclass(frozen=True)
class CollectiveResult:
    """A collective's newest run: bandwidth at its largest size, latency at its smallest.

    bus_bandwidth: bytes per second. gpus: PCIe addresses by rank, empty if unknown.
    wrong_values: over all sizes; None if the run did not check values.
    """

    file: str
    collective: str
    backend: str
    ranks: int
    finished_at: float
    size_bytes: int
    bus_bandwidth: float
    latency_seconds: float
    wrong_values: int | None = None
    gpus: tuple[str, ...] = ()
    nccl_version: str | None = None

    @property
    def name(self) -> str:
        """The subject of verdicts about it."""
        return f"{self.collective} {self.backend} {self.ranks}"


@dataclass(frozen=True)
class IgnoredFile:
    """A file that is not a result, and a short reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class CollectiveResults:
    """The content of a folder of results."""

    results: tuple[CollectiveResult, ...] = ()
    ignored: tuple[IgnoredFile, ...] = ()
    files_read: int = 0


FileContent = list[CollectiveResult] | IgnoredFile


class FormatError(ValueError):
    """A result file does not follow the format; the text names the key."""


class ResultReader:
    """Reads a folder repeatedly, and a file only when it is new or changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents: dict[str, tuple[tuple[int, int], FileContent]] = {}

    def read(self) -> CollectiveResults:
        """Return everything in the folder; nothing if the folder does not exist."""
        try:
            with os.scandir(self._folder) as entries:
                files = sorted(
                    (entry for entry in entries if entry.name.endswith(".json")),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            raise_exhausted(error)
            return CollectiveResults()
        contents: dict[str, tuple[tuple[int, int], FileContent]] = {}
        for entry in files[-FILES_MOST:]:
            try:
                status = entry.stat()
            except OSError as error:
                if not entry.is_symlink():  # deleted meanwhile
                    continue
                contents[entry.name] = ((0, 0), IgnoredFile(printable(entry.name), explain(error)))
                continue
            stamp = (status.st_mtime_ns, status.st_size)
            before = self._contents.get(entry.name)
            content = before[1] if before and before[0] == stamp else read_file(Path(entry.path))
            contents[entry.name] = (stamp, content)
        self._contents = contents
        read = [content for _, content in contents.values()]
        runs = [content for content in read if isinstance(content, list)]
        return CollectiveResults(
            select_newest(result for results in runs for result in results),
            tuple(content for content in read if isinstance(content, IgnoredFile)),
            len(runs),
        )


def select_newest(results: Iterable[CollectiveResult]) -> tuple[CollectiveResult, ...]:
    """Return the newest result of each collective, backend and number of ranks."""
    last: dict[str, CollectiveResult] = {}
    for result in sorted(results, key=lambda result: result.finished_at):
        last[result.name] = result
    return tuple(last[name] for name in sorted(last))


def read_file(path: Path) -> FileContent:
    """Return a file's results, or why it is ignored."""
    name = printable(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            return IgnoredFile(name, "not a regular file")
        if status.st_size > FILE_MOST_BYTES:
            return IgnoredFile(name, f"larger than {FILE_MOST_BYTES >> 20} MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
        return parse(document, name)
    except FormatError as error:
        return IgnoredFile(name, str(error))
    except OSError as error:
        raise_exhausted(error)
        return IgnoredFile(name, explain(error))
    except (ValueError, RecursionError):
        return IgnoredFile(name, "not JSON")


def explain(error: OSError) -> str:
    """Return why a file cannot be read."""
    return error.strerror or "can't be read"


def abbreviate(value: object) -> str:
    """Return a short text for a value of a file, which may be very long.

    >>> abbreviate("nccl"), abbreviate([["n"] * 1000])
    ("'nccl'", "[['n', 'n', 'n', 'n', 'n', 'n', ...]]")
    """
    text = reprlib.repr(value)
    return text if len(text) <= VALUE_MOST else f"{text[:VALUE_MOST]}…"


def printable(name: str) -> str:
    """Return a file name as valid text: a name can hold any bytes."""
    return os.fsencode(name).decode(errors="replace")


def parse(document: Any, file: str) -> list[CollectiveResult]:
    """Return the results of a document. Raises FormatError."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise FormatError(f"not a {FORMAT} document")
    version = document.get("version")
    if isinstance(version, bool) or version != FORMAT_VERSION:
        raise FormatError(
            f"version {abbreviate(version)}; this agent reads version {FORMAT_VERSION}"
        )
    backend = _parse_choice(document, "backend", BACKENDS)
    ranks = _parse_number(document, "ranks", at_least=1)
    if ranks != int(ranks):
        raise FormatError("'ranks' is not a whole number")
    finished = _parse_number(document, "finished_at", at_least=0)
    gpus = document.get("gpus", [])
    if not isinstance(gpus, list) or not all(
        isinstance(gpu, str) and ADDRESS.fullmatch(gpu) for gpu in gpus
    ):
        raise FormatError("'gpus' is not a list of addresses")
    collectives = document.get("collectives")
    if not isinstance(collectives, list):
        raise FormatError("'collectives' is not a list")
    nccl = document.get("nccl_version")
    return [
        _parse_collective(
            entry,
            file=file,
            backend=backend,
            ranks=int(ranks),
            finished_at=finished,
            gpus=tuple(gpus),
            nccl_version=nccl if isinstance(nccl, str) else None,
        )
        for entry in collectives
    ]


def _parse_collective(entry: Any, **run: Any) -> CollectiveResult:
    if not isinstance(entry, Mapping):
        raise FormatError("an entry of 'collectives' is not a mapping")
    name = _parse_choice(entry, "collective", COLLECTIVES)
    sizes = entry.get("sizes")
    if not isinstance(sizes, list) or not sizes or not all(isinstance(s, Mapping) for s in sizes):
        raise FormatError(f"{name}: 'sizes' is not a list of measurements")
    for size in sizes:
        _parse_number(size, "size_bytes", at_least=1)
        _parse_number(size, "time_seconds", at_least=0)
        _parse_number(size, "bus_bandwidth_bytes_per_second", at_least=0)
    wrong = [
        _parse_number(size, "wrong_values", at_least=0) for size in sizes if "wrong_values" in size
    ]
    ordered = sorted(sizes, key=lambda size: size["size_bytes"])
    return CollectiveResult(
        collective=name,
        size_bytes=int(ordered[-1]["size_bytes"]),
        bus_bandwidth=ordered[-1]["bus_bandwidth_bytes_per_second"],
        latency_seconds=ordered[0]["time_seconds"],
        wrong_values=int(sum(wrong)) if wrong else None,
        **run,
    )


def _parse_number(mapping: Mapping[str, Any], key: str, *, at_least: float) -> float:
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise FormatError(f"'{key}' is not a number")
    if value > NUMBER_MOST:
        raise FormatError(f"'{key}' is larger than 2^63")
    if value < at_least:
        raise FormatError(f"'{key}' is less than {at_least:g}")
    return value


def _parse_choice(mapping: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = mapping.get(key)
    if value not in allowed:
        raise FormatError(f"'{key}' is {abbreviate(value)}; expected one of {', '.join(allowed)}")
    return str(value)
