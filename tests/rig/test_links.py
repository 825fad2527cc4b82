"""The PCIe links: width at all times; speed, errors and Xids under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.checks.judgements import judge_pcie_errors, judge_speed, judge_width
from agent.readings.command_line import list_parameters
from tests.rig.load import Load
from tests.rig.proof import Proof, Row, row
from tests.rig.subject import Subject


def test_path_width(subject: Subject, agent: Mapping[str, Any], prove: Proof) -> None:
    """PCIe path width.
    The narrowest link between a GPU and its root port is what every copy gets.
    """
    expected = {path["address"]: path for path in agent["pcie"]["paths"]}
    rows = []
    for gpu in subject.gpus:
        width = gpu["path_width"] or 0
        path = expected.get(gpu["address"], {})
        wanted, source = path.get("expected_width") or 0, path.get("expected_width_from", "")
        status = judge_width(width, wanted)
        rows.append(
            row(
                gpu["address"],
                f"x{width}",
                f"x{wanted} ({source})",
                status == "ok",
                f"Check riser and bifurcation. fab advise -H {subject.name} shows the cost.",
                status,
            )
        )
    prove(rows)


def test_errors_are_counted(subject: Subject, prove: Proof) -> None:
    """PCIe errors are counted.
    Mining systems hide them (pci=noaer), and a bad riser then only shows as wrong results.
    """
    parameters = list_parameters(subject.facts["kernel"]["command_line"])
    hazards = [name for name in subject.expected["kernel_parameters_removed"] if name in parameters]
    prove(
        [
            row(
                "kernel command line",
                ", ".join(hazards) or "clean",
                "clean",
                not hazards,
                f"fab provision -H {subject.name} --tags base, then reboot",
            )
        ]
    )


def test_no_errors_under_load(ran: Load, prove: Proof) -> None:
    """PCIe errors under load.
    Errors that are corrected cost bandwidth, and grow into ones that are not.
    """
    rows = []
    for device, after in ran.after.aer.items():
        before = ran.before.aer.get(device, {})
        grown = {kind: count - before.get(kind, 0) for kind, count in after.items()}
        bad = {kind: count for kind, count in grown.items() if count > 0}
        reading = ", ".join(f"{count} {kind}" for kind, count in bad.items()) or "0"
        rows.append(
            row(
                device,
                reading,
                "0 more than before",
                not bad,
                "Reseat the card; swap its riser with another card's to see which one has errors.",
                judge_pcie_errors(bad),
            )
        )
    if not ran.after.aer:
        advice = "See the check of the kernel command line; then the BIOS for an option called AER."
        rows.append(Row("rig", "none", "the kernel's counters of PCIe errors", "unknown", advice))
    prove(rows)


def test_no_replays_under_load(ran: Load, prove: Proof) -> None:
    """PCIe replays under load.
    A packet sent again is a packet that came through damaged; the driver counts them itself.
    """
    rows = []
    before, after = ran.counted
    for gpu, count in after.replays.items():
        more = count - before.replays.get(gpu, count)
        rows.append(
            row(
                gpu,
                more,
                "0 more than before",
                more <= 0,
                "A marginal link: shorter riser, or a lower PCIe generation in the BIOS.",
                "warning",
            )
        )
    prove(rows or [Row("rig", "none", "the driver's counters of replays", "unknown")])


def test_no_xid_under_load(ran: Load, prove: Proof) -> None:
    """Xid errors under load.
    An Xid is the driver's own report that something went wrong with a GPU or its program.
    """
    rows = []
    before, after = ran.counted
    for gpu, counts in after.xids.items():
        earlier = before.xids.get(gpu, {})
        new = [str(xid) for xid, count in counts.items() if count > earlier.get(xid, 0)]
        rows.append(
            row(
                gpu,
                f"Xid {', '.join(new)}" if new else "none",
                "none",
                not new,
                "The agent's page explains it and what to do.",
            )
        )
    prove(rows or [Row("rig", "none", "none")])


def test_speed_under_load(ran: Load, agent: Mapping[str, Any], prove: Proof) -> None:
    """PCIe speed under load.
    A link that trains at a lower generation halves every copy, with no error anywhere.
    """
    rows = []
    for path in agent["pcie"]["paths"]:
        seen, wanted = path["loaded_speed"], path["expected_speed"] or 0
        if seen is None or (path["loaded_at"] or 0) < ran.started_at:
            continue  # it did not work long enough
        status = judge_speed(seen, wanted)
        rows.append(
            row(
                path["address"],
                f"{seen / 1e9:g} GT/s",
                f"{wanted / 1e9:g} GT/s ({path['expected_speed_from']})",
                status == "ok",
                "A marginal riser, or a generation fixed in the BIOS.",
                status,
            )
        )
    if not rows:
        pytest.skip("no GPU was under load long enough for its link to be judged")
    prove(rows)
