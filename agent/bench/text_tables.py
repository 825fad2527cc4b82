"""Tables for people, in nccl-tests' columns where it has them; 80 columns at most. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WIDTHS = (12, 10, 8, 6, 4, 10, 7, 7, 7)
_HEADS = ("size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong")
_UNITS = ("(B)", "", "", "", "", "(us)", "(GB/s)", "(GB/s)", "")
#: nccl-tests' names of data types.
TYPES = {"float32": "float", "float16": "half", "bfloat16": "bfloat16"}


COLUMNS = 80


def wrap_text(text: str, indent: str = "") -> list[str]:
    """A sentence as lines, the later ones indented."""
    return textwrap.wrap(text, COLUMNS, subsequent_indent=indent, break_long_words=False)


def row(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Cells flush right.

    >>> row(["1", "abc"], [3, 5])
    '  1   abc'
    """
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def collective_heading(name: str) -> list[str]:
    """Title and head of a collective's table."""
    return [f"# {name}", row(_HEADS, _WIDTHS), row(_UNITS, _WIDTHS).rstrip()]


def collective_row(entry: Mapping[str, Any], dtype: str, redop: str, root: int) -> str:
    """One size, an entry of "sizes"."""
    cells = [
        str(entry["size_bytes"]), str(entry["count"]), TYPES[dtype], redop, str(root),
        f"{entry['time_seconds'] * 1e6:.2f}",
        gigabytes(entry["algorithm_bandwidth_bytes_per_second"]),
        gigabytes(entry["bus_bandwidth_bytes_per_second"]),
        str(entry["wrong_values"]),
    ]  # fmt: skip
    return row(cells, _WIDTHS)


def gigabytes(rate: float) -> str:
    """Bytes per second as nccl-tests writes them: decimal gigabytes.

    >>> gigabytes(1.5e9)
    '1.50'
    """
    return f"{rate / 1e9:.2f}"


def workload_lines(entry: Mapping[str, Any]) -> list[str]:
    """An entry of "workloads"."""
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


def gemm_heading() -> list[str]:
    """Head of the table of matrix products."""
    return [row(("rank", "type", "size", "TFLOP/s", "#wrong"), _GEMM)]


def gemm_row(entry: Mapping[str, Any]) -> str:
    """An entry of "gemm"."""
    rate = f"{entry['flops_per_second'] / 1e12:.3f}"
    cells = (entry["rank"], entry["dtype"], entry["size"], rate, entry["wrong_values"])
    return row([str(cell) for cell in cells], _GEMM)


def transfer_heading() -> list[str]:
    """Head of the table of copies between host and GPUs."""
    heads = ("rank", "GPU", "direction", "memory", "size", "GB/s", "#wrong")
    return [row(heads, _TRANSFER)]


def transfer_row(entry: Mapping[str, Any]) -> str:
    """An entry of "transfers"."""
    cells = (
        entry["rank"], entry["gpu"], entry["direction"].replace("_", " "),
        "pinned" if entry["pinned"] else "pages", entry["size_bytes"],
        gigabytes(entry["bandwidth_bytes_per_second"]), entry["wrong_values"],
    )  # fmt: skip
    return row([str(cell) for cell in cells], _TRANSFER)


def peer_heading() -> list[str]:
    """Head of the table of copies between GPUs."""
    return [row(("from", "to", "P2P", "GB/s", "#wrong"), _PEER)]


def peer_row(entry: Mapping[str, Any]) -> str:
    """An entry of "peer"."""
    cells = (
        entry["from"], entry["to"], "yes" if entry["access"] else "no",
        gigabytes(entry["bandwidth_bytes_per_second"]), str(entry["wrong_values"]),
    )  # fmt: skip
    return row(cells, _PEER)


def hazard_heading() -> list[str]:
    """Head of the table of NCCL's hazards."""
    return [row(("hazard", "status", "busbw", "#wrong"), _HAZARD) + "  transport"]


def hazard_row(entry: Mapping[str, Any]) -> str:
    """An entry of "hazards"; what was not measured is a dash."""
    rate, wrong = entry["bus_bandwidth_bytes_per_second"], entry["wrong_values"]
    cells = (
        entry["hazard"], entry["status"], "-" if rate is None else gigabytes(rate),
        "-" if wrong is None else str(wrong),
    )  # fmt: skip
    ways = sorted(set(entry["transports"].values()))
    return f"{row(cells, _HAZARD)}  {', '.join(ways)[:46]}".rstrip()


def pair_lines(entries: Sequence[Mapping[str, Any]], ranks: int) -> list[str]:
    """The matrices of "pairs": bandwidth, latency, and wrong values where there are any."""
    tables: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("GB/s", lambda entry: gigabytes(entry["bandwidth_bytes_per_second"])),
        ("latency (us)", lambda entry: f"{entry['latency_seconds'] * 1e6:.1f}"),
    ]
    if any(entry["wrong_values"] for entry in entries):
        tables.append(("wrong values", lambda entry: str(entry["wrong_values"])))
    by_pair = {(entry["from"], entry["to"]): entry for entry in entries}
    lines = []
    widths = (4, *(8 for _ in range(ranks)))
    for title, cell in tables:
        lines += [f"# {title}, from (row) to (column)"]
        lines += [row(["", *map(str, range(ranks))], widths)]
        for source in range(ranks):
            cells = [
                cell(by_pair[source, target]) if source != target else "-"
                for target in range(ranks)
            ]
            lines.append(row([str(source), *cells], widths))
    return lines


def tool_row(entry: Mapping[str, Any]) -> str:
    """An entry of "tools"."""
    agrees = {True: "agrees", False: "DIFFERS", None: "not compared"}[entry["agrees"]]
    reason = f": {entry['reason']}" if entry["reason"] else ""
    return f"{entry['tool']} {agrees}{reason}"
