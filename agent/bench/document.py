"""The document of a run (format "deeprig-bench", docs/bench.md), and conclusions from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.bench.entries import BenchDocument, CollectiveResultFile, Problem, Share

FORMAT, FORMAT_VERSION = "deeprig-bench", 1
#: Exit statuses by the kind of problem, the most serious first.
STATUSES = {"yielded": 5, "wrong_values": 1, "hang": 2, "died": 3, "unusable": 4}
#: Advice for wrong values, by backend.
WRONG_VALUES_ADVICE = {
    "nccl": (
        "Data arrives changed. Run again with NCCL_P2P_DISABLE=1: if values are right then, keep "
        "it set, and turn ACS and the IOMMU off in the BIOS. Otherwise check risers, links "
        "(deeprig's PCIe verdicts) and the GPUs' memory."
    ),
    "gloo": (
        "Data changed in the processor, memory or network: no GPU was involved. Run memtest86+."
    ),
}


def create_document(
    *, plan: str, backend: str, ranks: int, nodes: int, hostname: str, now: float
) -> BenchDocument:
    """Return the document of a run that begins at `now` (Unix seconds)."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "started_at": now,
        "finished_at": now,
        "plan": plan,
        "backend": backend,
        "ranks": ranks,
        "gpus": [],
        "gpu_names": [],
        "torch": None,
        "cuda": None,
        "nccl": None,
        "hostname": hostname,
        "nodes": nodes,
        "parts": [],
        "collectives": [],
        "pairs": [],
        "transfers": [],
        "peer": [],
        "gemm": [],
        "hazards": [],
        "tools": [],
        "workloads": [],
        "problems": [],
    }


def merge_share(document: BenchDocument, share: Share) -> None:
    """Add the ranks' measurements and versions to the document."""
    document["collectives"] += share.get("collectives", [])
    document["pairs"] += share.get("pairs", [])
    document["transfers"] += share.get("transfers", [])
    document["peer"] += share.get("peer", [])
    document["gemm"] += share.get("gemm", [])
    document["hazards"] += share.get("hazards", [])
    document["tools"] += share.get("tools", [])
    document["workloads"] += share.get("workloads", [])
    document["gpus"] = share.get("gpus", document["gpus"])
    document["gpu_names"] = share.get("gpu_names", document["gpu_names"])
    document["torch"] = share.get("torch", document["torch"])
    document["cuda"] = share.get("cuda", document["cuda"])
    document["nccl"] = share.get("nccl", document["nccl"])


def add_share(document: Mapping[str, Any], share: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rank's document with the lists of a part added."""
    return {
        **document,
        **{key: [*document.get(key, []), *entries] for key, entries in share.items()},
    }


def build_problem(
    part: str,
    kind: str,
    message: str,
    advice: str = "",
    ranks: Mapping[str, Any] | None = None,
) -> Problem:
    """Return an entry of "problems"."""
    return {
        "part": part,
        "kind": kind,
        "message": message,
        "advice": advice,
        "ranks": dict(ranks or {}),
    }


def compute_exit_status(document: Mapping[str, Any]) -> int:
    """Return the status of the most serious problem; "unusable" counts only if no part ran."""
    kinds = {entry["kind"] for entry in document["problems"]}
    if any(part["status"] == "ok" for part in document["parts"]):
        kinds.discard("unusable")
    return next((status for kind, status in STATUSES.items() if kind in kinds), 0)


def list_wrong_values(share: Mapping[str, Any]) -> list[str]:
    """Return a text for each measurement with wrong values."""
    return [f"{name}: {count}" for name, count in _find_wrong_values(share)]


def _find_wrong_values(share: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
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
            yield "all_reduce with NCCL's defaults", f"{entry['wrong_values']} wrong values"
    for entry in share.get("tools", []):
        if entry.get("wrong_values"):
            yield entry["tool"], f"{entry['wrong_values']} wrong values"
    for entry in share.get("workloads", []):
        check = entry["check"]
        if not check["right"]:
            yield (
                entry["workload"],
                f"differs from the unsplit model by {check['largest_error']:.2g} of a tensor; "
                f"rounding explains at most {check['tolerance']:.2g}",
            )


def extract_collectives(document: BenchDocument) -> CollectiveResultFile | None:
    """Return the run's collectives for the agent (docs/nccl-results.md); None without any.

    GPUs are named only in a run on one rig: addresses of other rigs mean nothing here.
    """
    if not document["collectives"]:
        return None
    results: CollectiveResultFile = {
        "format": "deeprig-collectives",
        "version": 1,
        "backend": document["backend"],
        "ranks": document["ranks"],
        "finished_at": document["finished_at"],
        "collectives": [
            {"collective": entry["collective"], "sizes": entry["sizes"]}
            for entry in document["collectives"]
        ],
    }
    if document["gpus"] and document["nodes"] == 1:
        results["gpus"] = document["gpus"]
    if document["nccl"]:
        results["nccl_version"] = document["nccl"]
    return results
