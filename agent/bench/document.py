"""The document of a run (format "deeprig-bench", docs/bench.md), and what follows from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FORMAT, FORMAT_VERSION = "deeprig-bench", 1
LISTS = ("collectives", "pairs", "transfers", "peer", "gemm", "hazards", "tools", "workloads")
#: Exit statuses by what kind of problem there was, the most serious first.
STATUSES = {"yielded": 5, "wrong_values": 1, "hang": 2, "died": 3, "unusable": 4}
#: What to do about wrong values, by backend.
WRONG_VALUES_ADVICE = {
    "nccl": (
        "Data arrives changed. Run again with NCCL_P2P_DISABLE=1: if values are right then, keep "
        "it set, and turn ACS and the IOMMU off in the BIOS. Else suspect risers, links (deeprig's "
        "PCIe verdicts) or a GPU's memory."
    ),
    "gloo": ("Data changed in the processor, memory or network: no GPU took part. Run memtest86+."),
}


def start(
    *, plan: str, backend: str, ranks: int, nodes: int, hostname: str, now: float
) -> dict[str, Any]:
    """A document of a run that begins at `now` (Unix seconds)."""
    return {
        "format": FORMAT, "version": FORMAT_VERSION, "started_at": now, "finished_at": now,
        "plan": plan, "backend": backend, "ranks": ranks, "gpus": [], "gpu_names": [],
        "torch": None, "cuda": None, "nccl": None, "hostname": hostname, "nodes": nodes,
        "parts": [], **{name: [] for name in LISTS}, "problems": [],
    }  # fmt: skip


def merge(document: dict[str, Any], share: Mapping[str, Any]) -> None:
    """Add what ranks have measured, or versions that they told."""
    for name in LISTS:
        document[name] += share.get(name, [])
    for name in ("gpus", "gpu_names", "torch", "cuda", "nccl"):
        if name in share:
            document[name] = share[name]


def added(document: Mapping[str, Any], share: Mapping[str, Any]) -> dict[str, Any]:
    """A rank's document with a part's share: lists by key."""
    return {
        **document, **{key: [*document.get(key, []), *entries] for key, entries in share.items()}
    }  # fmt: skip


def problem(
    part: str,
    kind: str,
    message: str,
    advice: str = "",
    ranks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An entry of "problems"."""
    return {
        "part": part, "kind": kind, "message": message, "advice": advice,
        "ranks": dict(ranks or {}),
    }  # fmt: skip


def exit_status(document: Mapping[str, Any]) -> int:
    """By the most serious problem; "unusable" counts only where nothing at all was run."""
    kinds = {entry["kind"] for entry in document["problems"]}
    if any(part["status"] == "ok" for part in document["parts"]):
        kinds.discard("unusable")
    return next((status for kind, status in STATUSES.items() if kind in kinds), 0)


def wrong(share: Mapping[str, Any]) -> list[str]:
    """Wrong values in what was measured, in words: one text a thing."""
    return [f"{what}: {count}" for what, count in _wrong(share)]


def _wrong(share: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for entry in share.get("collectives", []):
        count = sum(size["wrong_values"] for size in entry["sizes"])
        if count:
            yield entry["collective"], f"{count} wrong values"
    for key, name in (
        ("pairs", "rank {from} to {to}"),
        ("transfers", "GPU {gpu} {direction}"),
        ("peer", "GPU {from} to {to}"),
        ("gemm", "rank {rank} {dtype} GEMM"),
    ):
        for entry in share.get(key, []):
            if entry["wrong_values"]:
                yield name.format(**entry), f"{entry['wrong_values']} wrong values"
    for entry in share.get("hazards", []):
        if entry["hazard"] == "default" and entry["wrong_values"]:
            yield "all_reduce as NCCL comes", f"{entry['wrong_values']} wrong values"
    for entry in share.get("tools", []):
        if entry.get("wrong_values"):
            yield entry["tool"], f"{entry['wrong_values']} wrong values"
    for entry in share.get("workloads", []):
        check = entry["check"]
        if not check["right"]:
            yield (
                entry["workload"],
                f"differs from the unsplit model by {check['largest_error']:.2g} of a tensor, "
                f"and rounding explains {check['tolerance']:.2g}",
            )


def collective_results(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run's collectives as the agent reads them (docs/nccl-results.md); None without any.

    GPUs are named for one rig alone: addresses of several mean nothing on each.
    """
    if not document["collectives"]:
        return None
    made = {
        "format": "deeprig-collectives", "version": 1,
        "backend": document["backend"], "ranks": document["ranks"],
        "finished_at": document["finished_at"],
        "collectives": [
            {"collective": entry["collective"], "sizes": entry["sizes"]}
            for entry in document["collectives"]
        ],
    }  # fmt: skip
    if document["gpus"] and document["nodes"] == 1:
        made["gpus"] = document["gpus"]
    if document["nccl"]:
        made["nccl_version"] = document["nccl"]
    return made
