"""Documents and lists that a rig sends beside its facts, as types of what is read of them here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta

from provision.boundary.decode import check_type, clean_texts
from provision.boundary.fact_types import Count, Path, Text

#: Unix seconds, up to the year 5138: time.gmtime can't show much more.
Moment = Annotated[float, Meta(ge=0, le=1e11)]
Positive = Annotated[float, Meta(ge=0, le=1e18)]


class AgentPath(TypedDict, total=False):
    """A GPU's PCIe path, as the agent's API has it. Speeds in transfers per second."""

    address: Text
    loaded_speed: Positive | None
    expected_speed: Positive | None


class AgentPaths(TypedDict):
    """The paths of all GPUs."""

    paths: Annotated[list[AgentPath], Meta(max_length=64)]


class AgentDocument(TypedDict):
    """Of the agent's document, what the checklist reads (agent/web/page/openapi.yaml)."""

    pcie: AgentPaths


class FoundFile(TypedDict):
    """A file, as the module `find` lists it."""

    path: Path
    mtime: Moment


class FoundFiles(TypedDict):
    """What `find` returns."""

    files: Annotated[list[FoundFile], Meta(max_length=100_000)]


class SlurpedContent(TypedDict):
    """What `slurp` returns."""

    content: str


class Size(TypedDict):
    """One size of a collective."""

    size_bytes: Annotated[int, Meta(ge=1, le=1 << 62)]
    time_seconds: Positive
    bus_bandwidth_bytes_per_second: Positive


class Collective(TypedDict):
    """One collective's measurements."""

    collective: Text
    sizes: Annotated[list[Size], Meta(max_length=10_000)]


class _ProblemTexts(TypedDict):
    part: Text
    message: Text


class BenchProblem(_ProblemTexts, total=False):
    """What went wrong in a part. advice: printed as it is, of whatever type."""

    advice: Any


class BenchReport(TypedDict):
    """A document of format deeprig-bench (docs/bench.md)."""

    format: Literal["deeprig-bench"]
    version: Literal[1]
    backend: Text
    ranks: Count
    finished_at: Moment
    collectives: Annotated[list[Collective], Meta(max_length=10_000)]
    problems: Annotated[list[BenchProblem], Meta(max_length=10_000)]


class PartBegin(TypedDict):
    """A part of the benchmarks begins."""

    event: Literal["begin"]
    part: Text
    number: Count
    of: Count


class PartEnd(TypedDict):
    """A part of the benchmarks is over."""

    event: Literal["end"]
    part: Text
    status: Text
    reason: Text


class LineEvent(TypedDict):
    """A line of a table."""

    event: Literal["line"]
    text: Text


class DocumentEvent(TypedDict):
    """The whole document."""

    event: Literal["document"]
    document: dict[str, Any]


BenchEvent = PartBegin | PartEnd | LineEvent | DocumentEvent
#: The events of deeprig-bench that mean something here, by name.
BENCH_EVENTS: dict[str, type[BenchEvent]] = {
    "begin": PartBegin,
    "end": PartEnd,
    "line": LineEvent,
    "document": DocumentEvent,
}


def check_bench(document: Any) -> BenchReport:
    """Return a benchmark's document, checked and clean, with all its keys. Raises BoundaryError."""
    check_type(document, BenchReport, "benchmark")
    cleaned: BenchReport = clean_texts(document)
    return cleaned
