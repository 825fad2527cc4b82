"""What a rig's benchmark measured, of a document of format deeprig-bench (docs/bench.md)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

from provision.boundary.decode import BoundaryError, check_type, clean_texts, parse_json
from provision.boundary.documents import Moment
from provision.errors import DeeprigError
from provision.performance import fit
from provision.performance.network import ANY, FACTORS, Cost, Network, factor

FORMAT, VERSION = "deeprig-bench", 1
FOLDER = "/var/lib/deeprig/bench"  # on a rig
DTYPES = {"fp32": ("float32",), "bf16": ("bfloat16", "float16")}
RERUN = "Run the benchmark again with this version of deeprig, or give another file."


class _Checked(TypedDict, total=False):
    #: Values of a wrong result, None or missing where nothing was compared.
    wrong_values: int | None


class MeasuredSize(_Checked):
    """One size of a collective."""

    size_bytes: int
    time_seconds: float


class MeasuredCollective(TypedDict):
    """One collective of NCCL's or gloo's."""

    collective: str
    ranks: int
    sizes: list[MeasuredSize]


#: A message between two ranks.
MeasuredPair = TypedDict(
    "MeasuredPair",
    {
        "from": int,
        "to": int,
        "latency_seconds": float,
        "bandwidth_bytes_per_second": float,
        "wrong_values": "int | None",
    },
)


class MeasuredProduct(_Checked):
    """Products of square matrices on one GPU. size: rows of each."""

    rank: int
    dtype: str
    size: int
    flops_per_second: float


class MeasuredTransport(_Checked):
    """A trial of NCCL's settings. transports: by pair of ranks."""

    hazard: str
    status: str
    transports: dict[str, str]


class _DocumentHead(TypedDict):
    backend: str
    ranks: int
    finished_at: float


class MeasuredDocument(_DocumentHead, total=False):
    """Of a deeprig-bench document, what predictions use. Parts that did not run are missing."""

    nccl: str | None
    torch: str | None
    gpus: list[str]
    collectives: list[MeasuredCollective]
    pairs: list[MeasuredPair]
    gemm: list[MeasuredProduct]
    hazards: list[MeasuredTransport]


@dataclass(frozen=True)
class Measurements:
    """Figures of one document.

    network: what was fitted, None where there is nothing of NCCL's with right values. gemm: FLOP/s
    by precision, of the slowest GPU. p2p: NCCL went from GPU to GPU directly, with right values.
    notes: what was not used, and why.
    """

    origin: str
    ranks: int
    finished_at: float
    network: Network | None = None
    gemm: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    p2p: bool = False

    @property
    def title(self) -> str:
        """Where it is from and of when."""
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.finished_at))
        return f"{self.origin}, {day} UTC"


def load(path: Path) -> Measurements:
    """Of a file. Raises DeeprigError."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeeprigError(f"can't read {path}: {error}") from None
    return parse(content, str(path))


def parse(content: str, origin: str) -> Measurements:
    """Of a document's text. Raises DeeprigError when it has another format or version."""
    try:
        document = clean_texts(parse_json(content))
    except BoundaryError as error:
        raise DeeprigError(f"{origin} is not JSON: {error.message}", advice=RERUN) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DeeprigError(f"{origin} is not a document of {FORMAT}", advice=RERUN)
    if document.get("version") != VERSION:
        raise DeeprigError(
            f"{origin} has version {document.get('version')!r} of {FORMAT}; "
            f"this deeprig reads {VERSION}",
            advice=RERUN,
        )
    try:
        check_type(document["finished_at"], Moment, "benchmark's time")
        # Not checked: what is of another type is caught below.
        return _read_figures(cast(MeasuredDocument, document), origin)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise DeeprigError(f"{origin} is broken: {error!r}", advice=RERUN) from None


def _read_figures(document: MeasuredDocument, origin: str) -> Measurements:
    notes: list[str] = []
    network = None
    if document["backend"] == "nccl":
        network = _network(document, notes)
    else:
        notes.append(
            f"its collectives ran over {document['backend']}, which does not use PCIe links: "
            "not used"
        )
    return Measurements(
        origin=origin,
        ranks=int(document["ranks"]),
        finished_at=float(document["finished_at"]),
        network=network,
        gemm=_gemm(document, notes),
        notes=tuple(notes),
        p2p=_p2p(document),
    )


def _p2p(document: MeasuredDocument) -> bool:
    """Return whether NCCL chose P2P for every transport, and all values were right."""
    if document["backend"] != "nccl":
        return False
    chosen = [
        transport
        for hazard in document.get("hazards", ())
        if hazard["hazard"] == "default" and hazard["status"] == "ok" and not hazard["wrong_values"]
        for transport in hazard["transports"].values()
    ]
    return bool(chosen) and all(str(transport).startswith("P2P") for transport in chosen)


def _network(document: MeasuredDocument, notes: list[str]) -> Network | None:
    costs: dict[str, Cost] = {}
    for entry in document.get("collectives", ()):
        name, ranks = str(entry["collective"]), int(entry["ranks"])
        if name not in FACTORS or ranks < 2:
            continue
        if any(size.get("wrong_values") for size in entry["sizes"]):
            notes.append(f"{name} gave wrong values: not used")
            continue
        points = [
            (factor(name, ranks) * float(size["size_bytes"]), float(size["time_seconds"]))
            for size in entry["sizes"]
        ]
        fitted = fit.line(points)
        if fitted is None:
            notes.append(f"{name}: times do not grow with sizes, so nothing can be fitted")
            continue
        costs[name] = Cost(
            fitted.latency,
            0.0,
            fitted.bandwidth,
            origin="measured",
            because=f"{origin_of(document)}, {len(points)} sizes, fitted to {fitted.error:.0%}",
        )
    if not costs:
        return None
    slowest = min(costs.values(), key=lambda cost: cost.bandwidth)
    costs.setdefault(ANY, costs.get("all_reduce", slowest))
    pairs = {
        (int(pair["from"]), int(pair["to"])): Cost(
            float(pair["latency_seconds"]),
            0.0,
            float(pair["bandwidth_bytes_per_second"]),
            origin="measured",
            because=f"{origin_of(document)}, pairs",
        )
        for pair in document.get("pairs", ())
        if not pair.get("wrong_values")
    }
    return Network(costs, pairs)


def origin_of(document: MeasuredDocument) -> str:
    """Return the source of the numbers in a few words."""
    version = document.get("nccl") or document.get("torch") or "?"
    return f"measured, {document['backend']} {version}"


def _gemm(document: MeasuredDocument, notes: list[str]) -> dict[str, float]:
    """FLOP/s of the largest product in each precision; the slowest GPU counts."""
    if not document.get("gpus"):
        return {}  # of a CPU
    rates = {}
    for precision, dtypes in DTYPES.items():
        entries = [entry for entry in document.get("gemm", ()) if entry["dtype"] in dtypes]
        right = [entry for entry in entries if not entry.get("wrong_values")]
        if len(right) < len(entries):
            notes.append(f"some products in {precision} were wrong: not used")
        if not right:
            continue
        size = max(entry["size"] for entry in right)
        best: dict[int, float] = {}
        for entry in right:
            if entry["size"] == size:
                rank, rate = entry["rank"], float(entry["flops_per_second"])
                best[rank] = max(best.get(rank, 0.0), rate)
        rates[precision] = min(best.values())
    return rates
