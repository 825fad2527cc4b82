"""The GPUs: all there, answering, and set as they should be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig.proof import Proof, Row, row
from tests.rig.smi import Smi
from tests.rig.subject import Silent, Subject

MEMORY_SHARE = 0.9  # of what the card carries; the driver and ECC keep some of it
WATTS_OFF = 1.0  # a limit is printed with decimals
HUNG = "See dmesg for Xids, stop what runs on it, and reboot; the other GPUs can go on."


def test_gpus_on_the_bus(subject: Subject, prove: Proof) -> None:
    """GPUs on the PCIe bus.
    A card that the bus does not show is lost without a message; its address names the slot.
    """
    here = {gpu["address"] for gpu in subject.gpus}
    recorded = subject.record.get("gpus", [])
    wanted = subject.expected["gpus_expected"] or len(recorded)
    advice = "Riser, its power cable, the BIOS (Above 4G decoding); then reboot."
    rows = [
        row(
            "rig",
            _describe_count(len(here)),
            _describe_count(wanted) if wanted else "at least 1 GPU",
            len(here) == (wanted or len(here) or 1),
            advice,
        )
    ]
    rows += [
        row(
            address,
            "there" if address in here else "missing",
            "there since provisioning",
            address in here,
            advice,
        )
        for address in recorded
    ]
    rows += [
        Row(
            address,
            "there",
            "not known from before",
            "warning",
            f"A new or moved card: fab provision -H {subject.name} --tags validation",
        )
        for address in sorted(here - set(recorded))
        if recorded
    ]
    prove(rows)


def test_gpus_answer(subject: Subject, prove: Proof) -> None:
    """GPUs answer.
    NVML must answer for every card that the bus shows.
    """
    smi = subject.smi
    if smi.hangs:
        prove(_find_hanging(subject))
        return
    rows = []
    for address in _addresses(subject):
        why = smi.explain_failure(address) if address in smi.gpus else smi.problem
        rows.append(
            row(
                address,
                smi.text(address, "name") + (f" ({why})" if why else ""),
                "an answer of NVML",
                address in smi.gpus and not why,
                "See dmesg for NVRM lines; riser and power.",
            )
        )
    prove(rows)


def _find_hanging(subject: Subject) -> Iterator[Row]:
    """Yield the GPU that nvidia-smi hangs on, as the agent reports it."""
    try:
        gpus = {gpu["address"]: gpu for gpu in subject.agent()["gpus"]}
    except Silent:
        gpus = {}
    hung = [address for address, gpu in gpus.items() if gpu["problem"].startswith("hung")]
    wanted = "an answer of NVML"
    for address in hung:
        yield row(
            address, f"a call to the driver hangs; {subject.smi.problem}", wanted, False, HUNG
        )
    if not hung:
        yield row("rig", subject.smi.problem, wanted, False, HUNG)
    for address, gpu in gpus.items():
        if gpu["up"]:
            yield Row(address, "answers the agent", wanted)


def test_memory_size(subject: Subject, smi: Smi, prove: Proof) -> None:
    """GPU memory.
    Less than the card carries means a wrong card, or one with a dead memory chip.
    """
    wanted, rows = subject.expected["gpu_memory_mib"], []
    advice = "Compare the card's name with what was bought."
    for address, mib in wanted.items():
        size, expected = smi.number(address, "memory.total"), f"{mib} MiB (hardware table)"
        if size is None:
            rows.append(Row(address, smi.text(address, "memory.total"), expected, "unknown"))
        else:
            holds = size >= MEMORY_SHARE * mib
            rows.append(row(address, f"{size:.0f} MiB", expected, holds, advice))
    if not rows:
        pytest.skip("no card here is in the hardware table")
    prove(rows)


def test_persistence(subject: Subject, smi: Smi, prove: Proof) -> None:
    """Persistence mode.
    Without it the driver forgets the power limit whenever nothing uses the GPU.
    """
    advice = f"systemctl restart gpu-power (fab provision -H {subject.name} --tags power)"
    rows = []
    for address in _addresses(subject):
        mode = smi.text(address, "persistence_mode")
        if mode in ("Enabled", "Disabled"):
            rows.append(row(address, mode, "Enabled", mode == "Enabled", advice))
        else:
            rows.append(Row(address, mode, "Enabled", "unknown"))
    prove(rows)


def test_power_limit(subject: Subject, smi: Smi, prove: Proof) -> None:
    """Power limit.
    Two mining power supplies carry all GPUs at once only below their stock limits.
    """
    advice = f"systemctl restart gpu-power (fab provision -H {subject.name} --tags power)"
    by_uuid = subject.expected["power_limits_by_uuid"]
    limits = {
        **subject.expected["power_limits_watts"],
        **{
            address: by_uuid[smi.text(address, "uuid")]
            for address in _addresses(subject)
            if smi.text(address, "uuid") in by_uuid
        },
    }
    wanted = {address: limits[address] for address in _addresses(subject) if address in limits}
    rows = []
    for address, limit in wanted.items():
        watts, expected = smi.number(address, "power.limit"), f"{limit} W (inventory)"
        if watts is None:
            rows.append(Row(address, smi.text(address, "power.limit"), expected, "unknown"))
        else:
            holds = abs(watts - limit) <= WATTS_OFF
            rows.append(row(address, f"{watts:.0f} W", expected, holds, advice))
    prove(rows or [Row("rig", "the cards' own", "none set (inventory)")])


def _addresses(subject: Subject) -> list[str]:
    return [gpu["address"] for gpu in subject.gpus]


def _describe_count(number: int) -> str:
    return f"{number} GPU{'' if number == 1 else 's'}"
