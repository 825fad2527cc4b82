"""hazards: tries the transports that NCCL can use between GPUs.

Transfers between GPUs (P2P) can silently corrupt data, or hang, on boards with ACS or an IOMMU
enabled. Each row of transport_trials.json runs an all_reduce with checked values in a separate
torchrun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.bench import document as documents
from agent.bench import text_tables
from agent.bench.entries import TrialEntry
from agent.bench.job import Ending
from agent.bench.launcher import Launcher
from agent.bench.nccl_log import parse_transports, uses_p2p
from agent.bench.plan import Part

TABLE = Path(__file__).with_name("transport_trials.json")
FASTER = 1.1  # the factor by which a setting must be faster to be recommended


def run(run: Launcher, options: Mapping[str, Any]) -> Ending:
    """Run the part. If NCCL chooses P2P and it fails, P2P is disabled for all following parts.

    Options: hazards (names), size_bytes, repeats.
    """
    table = {row["hazard"]: row for row in json.loads(TABLE.read_text(encoding="utf-8"))}
    size = {
        "collectives": ["all_reduce"],
        "sizes_bytes": [options["size_bytes"]],
        "repeats": options["repeats"],
        "warm_up": 1,
    }
    entries: list[TrialEntry] = []
    endings: list[Ending] = []
    for line in text_tables.format_hazard_heading():
        run.line(line)
    for name in options["hazards"]:
        ending = run.run_job(
            [Part("collectives", size)], table[name]["environment"], keeps_defaults=True
        )
        if ending.kind in ("interrupted", "yielded"):
            return ending
        documents.merge_share(run.document, {**ending.share, "collectives": []})
        endings.append(ending)
        entries.append(build_entry(table[name], ending))
        run.line(text_tables.format_hazard_row(entries[-1]))
        if run.remaining_seconds() <= 0:
            break
    add_advice(entries)
    run.document["hazards"] += entries
    for trial in entries:
        if trial["advice"]:
            text = f"{trial['hazard']}: {trial['advice']}"
            for line in text_tables.wrap_text(text, "  "):
                run.line(line)
    first = entries[0]
    if first["hazard"] == "default" and has_failed(first) and is_caused_by_p2p(first, entries):
        run.disable_p2p()
    if first["hazard"] == "default" and first["status"] != "ok":
        reason = endings[0].message or first["status"]
        message = f"all_reduce with NCCL's defaults: {reason}"
        advice = first["advice"] or endings[0].advice
        run.add_problem("hazards", first["status"], message, advice, ranks=endings[0].ranks)
        run.close("hazards", "failed", message)
    else:
        run.end("hazards", documents.list_wrong_values({"hazards": entries}))
    return Ending("ok")


def build_entry(row: Mapping[str, Any], ending: Ending) -> TrialEntry:
    """Return the document's entry of a row of the table and its job, without advice."""
    collectives = ending.share.get("collectives", [])
    sizes = [size for collective in collectives for size in collective["sizes"]]
    measured = sizes[-1] if sizes else None
    return {
        "hazard": row["hazard"],
        "environment": dict(row["environment"]),
        "transports": parse_transports(ending.transports_log),
        "bus_bandwidth_bytes_per_second": (
            measured["bus_bandwidth_bytes_per_second"] if measured else None
        ),
        "wrong_values": measured["wrong_values"] if measured else None,
        "status": ending.kind if ending.kind in ("ok", "hang", "died") else "unusable",
        "advice": "",
    }


def has_failed(trial: TrialEntry) -> bool:
    """Return whether a trial hung, died or computed wrong values."""
    return trial["status"] != "ok" or bool(trial["wrong_values"])


def add_advice(entries: Sequence[TrialEntry]) -> None:
    """Write the advice of each trial."""
    by_name = {trial["hazard"]: trial for trial in entries}
    default = by_name.get("default")
    for trial in entries:
        trial["advice"] = find_advice(trial, default, entries)


def find_advice(
    trial: TrialEntry,
    default: TrialEntry | None,
    entries: Sequence[TrialEntry],
) -> str:
    """Return what to do about a trial; empty if nothing needs to be done."""
    name = trial["hazard"]
    if name in ("default", "p2p_on") and has_failed(trial) and is_caused_by_p2p(trial, entries):
        advice = "Transfers between GPUs (P2P) are unreliable here: set NCCL_P2P_DISABLE=1"
        if name == "default":
            return f"{advice}, because NCCL uses P2P by default."
        if default and not uses_p2p(default["transports"]):
            return f"{advice}, and never NCCL_P2P_LEVEL. By default NCCL does not use P2P here."
        return f"{advice}."
    if name == "p2p_on" and default and is_faster(trial, default):
        return (
            f"Values are right, and it is {compute_gain(trial, default):.1f} times as fast as "
            "NCCL's default: set NCCL_P2P_LEVEL=SYS."
        )
    if name == "p2p_off" and default and is_faster(trial, default):
        return (
            f"{compute_gain(trial, default):.1f} times as fast as NCCL's default: "
            "set NCCL_P2P_DISABLE=1."
        )
    if not has_failed(trial):
        return ""
    if trial["transports"]:
        return "It also fails without P2P: check risers, links and the GPUs' memory."
    return "It ended before NCCL chose a transport: see its log, and the GPUs' Xids."


def is_caused_by_p2p(trial: TrialEntry, entries: Sequence[TrialEntry]) -> bool:
    """Return whether P2P is the cause of a failure: the trial used it.

    If NCCL hung before it logged a transport, P2P is the cause if the trial without it passes.
    """
    if trial["transports"]:
        return uses_p2p(trial["transports"])
    return any(entry["hazard"] == "p2p_off" and not has_failed(entry) for entry in entries)


def is_faster(trial: TrialEntry, default: TrialEntry) -> bool:
    """Return whether a trial passed and is fast enough to recommend its setting.

    With the same transport a difference is noise: a driver without P2P ignores the setting.
    """
    if trial["transports"] == default["transports"]:
        return False
    passed = not has_failed(trial) and not has_failed(default)
    return passed and compute_gain(trial, default) >= FASTER


def compute_gain(trial: TrialEntry, default: TrialEntry) -> float:
    """Return how many times as fast a trial is; 0 if it is unknown."""
    rate = trial["bus_bandwidth_bytes_per_second"]
    default_rate = default["bus_bandwidth_bytes_per_second"]
    return rate / default_rate if rate and default_rate else 0.0
