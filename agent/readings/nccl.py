"""Results of collective benchmarks that runs leave in /var/lib/deeprig/nccl.

One JSON file a run, `NAME.json`, written under another name and renamed; docs/nccl-results.md has
the format, whose number is FORMAT_VERSION. A file that can't be read is ignored, and named with the
reason. The newest result of each collective, backend and number of ranks is what counts.
"""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.readings.pcie import ADDRESS, raise_exhausted

FORMAT, FORMAT_VERSION = "deeprig-collectives", 1
#: busbw = algbw x factor of the number of ranks n (nccl-tests, doc/PERFORMANCE.md).
COLLECTIVES = (
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "reduce", "sendrecv",
)  # fmt: skip
BACKENDS = ("nccl", "gloo")
FILE_MOST_BYTES = 4 << 20
FILES_MOST = 1000
VALUE_MOST = 60  # characters of a wrong value in a reason
NUMBER_MOST = 2**63  # no size, bandwidth or time comes near it, and sums of such stay finite


@dataclass(frozen=True)
class Result:
    """A collective's newest run: bandwidth at its largest size, latency at its smallest.

    bus_bandwidth: bytes per second. gpus: PCIe addresses by rank, empty where unknown.
    wrong_values: over all sizes; None where the run did not check them.
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
        """What a verdict calls it."""
        return f"{self.collective} {self.backend} {self.ranks}"


@dataclass(frozen=True)
class Ignored:
    """A file that is no result, and why: in a line, however long what is wrong in it is."""

    file: str
    reason: str


@dataclass(frozen=True)
class Results:
    """What a folder of results holds."""

    results: tuple[Result, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    files_read: int = 0


class FormatError(ValueError):
    """A result file does not have the format; the text says where."""


class ResultReader:
    """Reads a folder again and again; a file only when it is new or changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], list[Result] | Ignored]] = {}

    def read(self) -> Results:
        """Everything in the folder; empty where there is none."""
        try:
            with os.scandir(self._folder) as entries:
                found = sorted(
                    (entry for entry in entries if entry.name.endswith(".json")),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            raise_exhausted(error)
            return Results()
        known: dict[str, tuple[tuple[int, int], list[Result] | Ignored]] = {}
        for entry in found[-FILES_MOST:]:
            try:
                status = entry.stat()
            except OSError as error:
                if not entry.is_symlink():  # deleted meanwhile
                    continue
                known[entry.name] = ((0, 0), Ignored(shown(entry.name), reason(error)))
                continue
            stamp = (status.st_mtime_ns, status.st_size)
            before = self._known.get(entry.name)
            content = before[1] if before and before[0] == stamp else read_file(Path(entry.path))
            known[entry.name] = (stamp, content)
        self._known = known
        contents = [content for _, content in known.values()]
        runs = [content for content in contents if isinstance(content, list)]
        return Results(
            newest(result for results in runs for result in results),
            tuple(content for content in contents if isinstance(content, Ignored)),
            len(runs),
        )


def newest(results: Any) -> tuple[Result, ...]:
    """The last of each collective, backend and number of ranks."""
    last: dict[str, Result] = {}
    for result in sorted(results, key=lambda result: result.finished_at):
        last[result.name] = result
    return tuple(last[name] for name in sorted(last))


def read_file(path: Path) -> list[Result] | Ignored:
    """One file's results."""
    name = shown(path.name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for who writes into it
            return Ignored(name, "no regular file")
        if status.st_size > FILE_MOST_BYTES:
            return Ignored(name, f"larger than {FILE_MOST_BYTES >> 20} MiB")
        document = json.loads(path.read_text(encoding="utf-8"))
        return parse(document, name)
    except FormatError as error:
        return Ignored(name, str(error))
    except OSError as error:
        raise_exhausted(error)
        return Ignored(name, reason(error))
    except (ValueError, RecursionError):
        return Ignored(name, "no JSON")


def reason(error: OSError) -> str:
    """Why a file can't be read."""
    return error.strerror or "can't be read"


def brief(value: object) -> str:
    """A value from a file as a few words: it may be millions of characters long.

    >>> brief("nccl"), brief([["n"] * 1000])
    ("'nccl'", "[['n', 'n', 'n', 'n', 'n', 'n', ...]]")
    """
    text = reprlib.repr(value)
    return text if len(text) <= VALUE_MOST else f"{text[:VALUE_MOST]}…"


def shown(name: str) -> str:
    """A file's name as text that can be written anywhere: it may hold any bytes."""
    return os.fsencode(name).decode(errors="replace")


def parse(document: Any, file: str) -> list[Result]:
    """The results that a document holds. Raises FormatError."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise FormatError(f"no {FORMAT} document")
    version = document.get("version")
    if isinstance(version, bool) or version != FORMAT_VERSION:
        raise FormatError(f"version {brief(version)}, and this agent reads {FORMAT_VERSION}")
    backend = _one_of(document, "backend", BACKENDS)
    ranks = _number(document, "ranks", at_least=1)
    if ranks != int(ranks):
        raise FormatError("'ranks' is no whole number")
    finished = _number(document, "finished_at", at_least=0)
    gpus = document.get("gpus", [])
    if not isinstance(gpus, list) or not all(
        isinstance(gpu, str) and ADDRESS.fullmatch(gpu) for gpu in gpus
    ):
        raise FormatError("'gpus' is no list of addresses")
    collectives = document.get("collectives")
    if not isinstance(collectives, list):
        raise FormatError("'collectives' is no list")
    nccl = document.get("nccl_version")
    return [
        _collective(
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


def _collective(entry: Any, **run: Any) -> Result:
    if not isinstance(entry, Mapping):
        raise FormatError("an entry of 'collectives' is no mapping")
    name = _one_of(entry, "collective", COLLECTIVES)
    sizes = entry.get("sizes")
    if not isinstance(sizes, list) or not sizes or not all(isinstance(s, Mapping) for s in sizes):
        raise FormatError(f"{name}: 'sizes' is no list of measurements")
    for size in sizes:
        _number(size, "size_bytes", at_least=1)
        _number(size, "time_seconds", at_least=0)
        _number(size, "bus_bandwidth_bytes_per_second", at_least=0)
    wrong = [_number(size, "wrong_values", at_least=0) for size in sizes if "wrong_values" in size]
    ordered = sorted(sizes, key=lambda size: size["size_bytes"])
    return Result(
        collective=name,
        size_bytes=int(ordered[-1]["size_bytes"]),
        bus_bandwidth=ordered[-1]["bus_bandwidth_bytes_per_second"],
        latency_seconds=ordered[0]["time_seconds"],
        wrong_values=int(sum(wrong)) if wrong else None,
        **run,
    )


def _number(mapping: Mapping[str, Any], key: str, *, at_least: float) -> float:
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise FormatError(f"'{key}' is no number")
    if value > NUMBER_MOST:
        raise FormatError(f"'{key}' is larger than 2^63")
    if value < at_least:
        raise FormatError(f"'{key}' is less than {at_least:g}")
    return value


def _one_of(mapping: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = mapping.get(key)
    if value not in known:
        raise FormatError(f"'{key}' is {brief(value)}, none of {', '.join(known)}")
    return str(value)
