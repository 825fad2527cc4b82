"""NCCL's hazards: ways between GPUs that hang, or that change what they carry.

Transfers between GPUs (P2P) corrupt data or hang on boards with ACS or an IOMMU on, and nothing
says so. Each row of transport_trials.json is an all_reduce in its own torchrun; values are checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.bench import document as documents
from agent.bench import text_tables
from agent.bench.job import Ending
from agent.bench.launcher import Launcher
from agent.bench.nccl_log import transports, uses_p2p
from agent.bench.plan import Part

TABLE = Path(__file__).with_name("transport_trials.json")
FASTER = 1.1  # what a setting must gain to be worth naming


def run(run: Launcher, options: Mapping[str, Any]) -> Ending:
    """The part. Sets NCCL_P2P_DISABLE=1 for all that follows where P2P is what NCCL chooses, and
    is wrong.

    Options: hazards (names), size_bytes, repeats.
    """
    table = {row["hazard"]: row for row in json.loads(TABLE.read_text(encoding="utf-8"))}
    size = {
        "collectives": ["all_reduce"], "sizes_bytes": [options["size_bytes"]],
        "repeats": options["repeats"], "warm_up": 1,
    }  # fmt: skip
    entries: list[dict[str, Any]] = []
    endings: list[Ending] = []
    for line in text_tables.hazard_heading():
        run.line(line)
    for name in options["hazards"]:
        ending = run.job([Part("collectives", size)], table[name]["environment"], as_it_comes=True)
        if ending.kind in ("interrupted", "yielded"):
            return ending
        documents.merge(run.document, {**ending.share, "collectives": []})
        endings.append(ending)
        entries.append(entry(table[name], ending))
        run.line(text_tables.hazard_row(entries[-1]))
        if run.left() <= 0:
            break
    add_advice(entries)
    run.document["hazards"] += entries
    for one in entries:
        if one["advice"]:
            for line in text_tables.wrap_text(f"{one['hazard']}: {one['advice']}", "  "):
                run.line(line)
    first = entries[0]
    if first["hazard"] == "default" and bad(first) and by_p2p(first, entries):
        run.without_p2p()
    if first["hazard"] == "default" and first["status"] != "ok":
        said = endings[0].message or first["status"]
        message = f"all_reduce as NCCL comes: {said}"
        advice = first["advice"] or endings[0].advice
        run.problem("hazards", first["status"], message, advice, ranks=endings[0].ranks)
        run.close("hazards", "failed", message)
    else:
        run.end("hazards", documents.wrong({"hazards": entries}))
    return Ending("ok")


def entry(row: Mapping[str, Any], ending: Ending) -> dict[str, Any]:
    """A hazard's entry in the document, from its row of the table and its job; advice is empty."""
    sizes = [size for one in ending.share.get("collectives", []) for size in one["sizes"]]
    measured = sizes[-1] if sizes else None
    return {
        "hazard": row["hazard"],
        "environment": dict(row["environment"]),
        "transports": transports(ending.transports_log),
        "bus_bandwidth_bytes_per_second": (
            measured["bus_bandwidth_bytes_per_second"] if measured else None
        ),
        "wrong_values": measured["wrong_values"] if measured else None,
        "status": ending.kind if ending.kind in ("ok", "hang", "died") else "unusable",
        "advice": "",
    }


def bad(one: Mapping[str, Any]) -> bool:
    """Whether it hung, died or gave wrong values."""
    return one["status"] != "ok" or bool(one["wrong_values"])


def add_advice(entries: Sequence[dict[str, Any]]) -> None:
    """Write what to do about each into its "advice"."""
    by_name = {one["hazard"]: one for one in entries}
    default = by_name.get("default")
    for one in entries:
        name = one["hazard"]
        if name in ("default", "p2p_on") and bad(one) and by_p2p(one, entries):
            one["advice"] = (
                "Transfers between GPUs (P2P) are not to be trusted here: set NCCL_P2P_DISABLE=1"
                + (", which NCCL needs to be told." if name == "default" else
                   ", and never NCCL_P2P_LEVEL. NCCL by itself does without."
                   if default and not uses_p2p(default["transports"]) else ".")
            )  # fmt: skip
        elif name == "p2p_on" and default and faster(one, default):
            one["advice"] = (
                f"Right, and {gain(one, default):.1f} times as fast as what NCCL chooses: "
                "NCCL_P2P_LEVEL=SYS is worth setting."
            )
        elif name == "p2p_off" and default and faster(one, default):
            one["advice"] = (
                f"{gain(one, default):.1f} times as fast as what NCCL chooses: "
                "NCCL_P2P_DISABLE=1 is worth setting."
            )
        elif bad(one):
            one["advice"] = (
                "Fails without P2P, too: look at risers, links and the GPUs' memory."
                if one["transports"] else
                "It ended before NCCL chose a way: look at its log, and at the GPUs' Xids."
            )  # fmt: skip


def by_p2p(one: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether P2P is to blame: it was used; or, where NCCL hung too early to tell, all is well
    without it.
    """
    if one["transports"]:
        return uses_p2p(one["transports"])
    return any(entry["hazard"] == "p2p_off" and not bad(entry) for entry in entries)


def faster(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one is right, and so much faster that it is worth a setting.

    By the same way as the other it is only noise: without P2P in the driver no setting brings it.
    """
    if one["transports"] == other["transports"]:
        return False
    return not bad(one) and not bad(other) and gain(one, other) >= FASTER


def gain(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How many times as fast."""
    rates = [entry["bus_bandwidth_bytes_per_second"] for entry in (one, other)]
    return float(rates[0] / rates[1]) if all(rates) else 0.0
