"""Tables of results, in the columns of nccl-tests if it has them; at most 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from agent.bench.entries import (
    CollectiveSize,
    GemmEntry,
    PairEntry,
    PeerEntry,
    ToolEntry,
    TransferEntry,
    TrialEntry,
    WorkloadEntry,
)

_WIDTHS = (12, 10, 8, 6, 4, 10, 7, 7, 7)
_HEADS = ("size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong")
_UNITS = ("(B)", "", "", "", "", "(us)", "(GB/s)", "(GB/s)", "")
#: nccl-tests' names of data types.
TYPES = {"float32": "float", "float16": "half", "bfloat16": "bfloat16"}


COLUMNS = 80


def wrap_text(text: str, indent: str = "") -> list[str]:
    """Return a sentence as lines; lines after the first are indented."""
    return textwrap.wrap(text, COLUMNS, subsequent_indent=indent, break_long_words=False)


def format_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells aligned to the right.

    >>> format_row(["1", "abc"], [3, 5])
    '  1   abc'
    """
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def format_collective_heading(name: str) -> list[str]:
    """Return the title and head of a collective's table."""
    return [f"# {name}", format_row(_HEADS, _WIDTHS), format_row(_UNITS, _WIDTHS).rstrip()]


def format_collective_row(entry: CollectiveSize, dtype: str, redop: str, root: int) -> str:
    """Return the row of an entry of "sizes"."""
    cells = [
        str(entry["size_bytes"]),
        str(entry["count"]),
        TYPES[dtype],
        redop,
        str(root),
        f"{entry['time_seconds'] * 1e6:.2f}",
        format_gigabytes(entry["algorithm_bandwidth_bytes_per_second"]),
        format_gigabytes(entry["bus_bandwidth_bytes_per_second"]),
        str(entry["wrong_values"]),
    ]
    return format_row(cells, _WIDTHS)


def format_gigabytes(rate: float) -> str:
    """Return bytes per second in nccl-tests' unit, decimal gigabytes.

    >>> format_gigabytes(1.5e9)
    '1.50'
    """
    return f"{rate / 1e9:.2f}"


def format_workload(entry: WorkloadEntry) -> list[str]:
    """Return the lines of an entry of "workloads"."""
    check = entry["check"]
    right = "right" if check["right"] else "WRONG"
    shape = entry["shape"]
    return [
        f"# {entry['workload']}: {entry['parameters'] / 1e6:.1f} M parameters, "
        f"{shape['layers']} layers of {shape['hidden']}, {entry['dtype']}, {entry['ranks']} ranks",
        f"  step {entry['step_seconds'] * 1e3:.2f} ms, {entry['tokens_per_second']:.0f} tokens/s, "
        f"error {check['largest_error']:.1e} of {check['tolerance']:.0e} allowed: {right}",
    ]


_GEMM = (4, 9, 6, 10, 7)
_TRANSFER = (4, 12, 16, 6, 12, 7, 7)
_PEER = (12, 12, 6, 7, 7)
_HAZARD = (8, 8, 7, 7)


def format_gemm_heading() -> list[str]:
    """Return the head of the table of matrix products."""
    return [format_row(("rank", "type", "size", "TFLOP/s", "#wrong"), _GEMM)]


def format_gemm_row(entry: GemmEntry) -> str:
    """Return the row of an entry of "gemm"."""
    rate = f"{entry['flops_per_second'] / 1e12:.3f}"
    cells = (entry["rank"], entry["dtype"], entry["size"], rate, entry["wrong_values"])
    return format_row([str(cell) for cell in cells], _GEMM)


def format_transfer_heading() -> list[str]:
    """Return the head of the table of copies between host and GPUs."""
    heads = ("rank", "GPU", "direction", "memory", "size", "GB/s", "#wrong")
    return [format_row(heads, _TRANSFER)]


def format_transfer_row(entry: TransferEntry) -> str:
    """Return the row of an entry of "transfers"."""
    cells = (
        entry["rank"],
        entry["gpu"],
        entry["direction"].replace("_", " "),
        "pinned" if entry["pinned"] else "pages",
        entry["size_bytes"],
        format_gigabytes(entry["bandwidth_bytes_per_second"]),
        entry["wrong_values"],
    )
    return format_row([str(cell) for cell in cells], _TRANSFER)


def format_peer_heading() -> list[str]:
    """Return the head of the table of copies between GPUs."""
    return [format_row(("from", "to", "P2P", "GB/s", "#wrong"), _PEER)]


def format_peer_row(entry: PeerEntry) -> str:
    """Return the row of an entry of "peer"."""
    cells = (
        entry["from"],
        entry["to"],
        "yes" if entry["access"] else "no",
        format_gigabytes(entry["bandwidth_bytes_per_second"]),
        str(entry["wrong_values"]),
    )
    return format_row(cells, _PEER)


def format_hazard_heading() -> list[str]:
    """Return the head of the table of transport trials."""
    return [format_row(("hazard", "status", "busbw", "#wrong"), _HAZARD) + "  transport"]


def format_hazard_row(entry: TrialEntry) -> str:
    """Return the row of an entry of "hazards"; a dash is not measured."""
    rate, wrong = entry["bus_bandwidth_bytes_per_second"], entry["wrong_values"]
    cells = (
        entry["hazard"],
        entry["status"],
        "-" if rate is None else format_gigabytes(rate),
        "-" if wrong is None else str(wrong),
    )
    ways = sorted(set(entry["transports"].values()))
    return f"{format_row(cells, _HAZARD)}  {', '.join(ways)[:46]}".rstrip()


def format_pairs(entries: Sequence[PairEntry], ranks: int) -> list[str]:
    """Return the matrices of "pairs": bandwidth, latency, and wrong values if there are any."""
    tables: list[tuple[str, Callable[[PairEntry], str]]] = [
        ("GB/s", lambda entry: format_gigabytes(entry["bandwidth_bytes_per_second"])),
        ("latency (us)", lambda entry: f"{entry['latency_seconds'] * 1e6:.1f}"),
    ]
    if any(entry["wrong_values"] for entry in entries):
        tables.append(("wrong values", lambda entry: str(entry["wrong_values"])))
    by_pair = {(entry["from"], entry["to"]): entry for entry in entries}
    lines = []
    widths = (4, *(8 for _ in range(ranks)))
    for title, cell in tables:
        lines += [f"# {title}, from (row) to (column)"]
        lines += [format_row(["", *map(str, range(ranks))], widths)]
        for source in range(ranks):
            cells = [
                cell(by_pair[source, target]) if source != target else "-"
                for target in range(ranks)
            ]
            lines.append(format_row([str(source), *cells], widths))
    return lines


def format_tool_row(entry: ToolEntry) -> str:
    """Return the line of an entry of "tools"."""
    agrees = {True: "agrees", False: "DIFFERS", None: "not compared"}[entry["agrees"]]
    reason = f": {entry['reason']}" if entry["reason"] else ""
    return f"{entry['tool']} {agrees}{reason}"
