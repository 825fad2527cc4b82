"""Signs of hard use, from the values of bus, kernel and driver for each GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from agent.checks.judgements import judge_memory_errors, judge_pcie_errors
from agent.readings import pcie, xid
from provision.assess.finding import Finding, Status
from provision.assess.nvidia_smi import Smi
from provision.hardware import cards
from provision.inventory import yaml_source

HERE = Path(__file__).parent
XIDS = HERE.parents[1] / "agent" / "tables" / "xids.yml"
CABLE = "Reseat the card and its riser; swap risers to see which of them the errors follow."


def find_wear_signs(
    gpus: Sequence[pcie.PcieGpu], smis: Sequence[Smi], messages: str, generations: Mapping[str, str]
) -> list[Finding]:
    """Return all of them. gpus: read with their error counters; generations: by GPU's address."""
    limits: Mapping[str, float] = yaml_source.load_yaml(HERE / "thresholds.yml")
    by_address = {smi.address: smi for smi in smis}
    findings = [*_lost(gpus, by_address), *_errors(gpus), *_xids(gpus, messages)]
    for gpu in gpus:
        smi = by_address.get(gpu.address)
        if smi is not None:
            findings += [
                *_memory(smi),
                *_vbios(smi, generations.get(gpu.address, "")),
                *_heat(smi, limits),
                *_power(smi, limits),
            ]
    return [*findings, *_mixed(smis)]


def generations_of(gpus: Sequence[pcie.PcieGpu]) -> dict[str, str]:
    """Return the generation of each GPU by its address, from inventory/hardware/gpus.yml."""
    table = cards.chips()
    chips = {gpu.address: cards.chip_of(gpu.device_id or "0", table) for gpu in gpus}
    return {address: chip.generation for address, chip in chips.items() if chip}


def _lost(gpus: Sequence[pcie.PcieGpu], smis: Mapping[str, Smi]) -> Iterator[Finding]:
    for gpu in gpus:
        if not gpu.answers:
            yield Finding(
                "on the bus",
                gpu.address,
                "critical",
                "it has fallen off the bus",
                "Its riser, the riser's power, or the card: try it in the board's own slot.",
            )
        elif smis and gpu.address not in smis:
            yield Finding(
                "driver",
                gpu.address,
                "critical",
                "the driver does not answer for it",
                "Look for Xid lines in dmesg; try it alone, in the board's own slot.",
            )
    if not smis and gpus:
        yield Finding(
            "driver",
            "rig",
            "unknown",
            "nvidia-smi does not answer",
            "Memory errors, VBIOS and temperatures are available once the driver runs.",
        )


def _errors(gpus: Sequence[pcie.PcieGpu]) -> Iterator[Finding]:
    """PCIe errors since the boot, of each GPU's path: often counted at the port above it."""
    seen: set[str] = set()
    counted = False
    for gpu in gpus:
        for port in gpu.path:
            if port.aer is None or port.address in seen:
                continue
            seen.add(port.address)
            counted = True
            bad = {name: number for name, number in port.aer.totals.items() if number}
            if not bad:
                continue
            status: Status = judge_pcie_errors(bad)
            reading = ", ".join(f"{number} {name}" for name, number in bad.items())
            where = "" if port.address == gpu.address else f" at {port.address}"
            yield Finding("PCIe errors", gpu.address, status, f"{reading}{where}", CABLE)
    if gpus and not counted:
        yield Finding(
            "PCIe errors",
            "rig",
            "unknown",
            "the kernel counts none",
            "pci=noaer on its command line, or an old BIOS: they are counted after provisioning.",
        )
    elif gpus:
        yield Finding("PCIe errors", "rig", "ok", f"counted at {len(seen)} devices since the boot")


def _xids(gpus: Sequence[pcie.PcieGpu], messages: str) -> Iterator[Finding]:
    """Xids in the kernel's log, which begins at the last boot and may have been cut."""
    rows = xid.XidCatalogue(yaml_source.load_yaml(XIDS))
    counts: Counter[tuple[str, int]] = Counter()
    for match in xid.XID.finditer(messages):
        counts[match["address"].lower(), int(match["xid"])] += 1
    for (address, number), count in counts.items():
        row = rows[number]
        gpu_address = next(
            (gpu.address for gpu in gpus if gpu.address.startswith(address[-10:])), address
        )
        status: Status = "note" if row.status == "ok" else row.status
        yield Finding(
            "Xid errors",
            gpu_address,
            status,
            f"Xid {number} ({row.name}), {count} in the kernel's log",
            row.advice,
        )
    if not counts and messages:
        yield Finding("Xid errors", "rig", "ok", "none in the kernel's log")
    elif not messages and gpus:
        yield Finding("Xid errors", "rig", "unknown", "the kernel's log can't be read, or is empty")


def _memory(smi: Smi) -> Iterator[Finding]:
    reading = []
    if smi.retired is not None:
        reading.append(f"{smi.retired} pages retired")
    if smi.remapped is not None:
        reading.append(f"{smi.remapped} rows remapped")
    if not reading:
        yield Finding(
            "memory",
            smi.address,
            "unknown",
            "this card keeps no count of worn memory",
            "GeForce cards mostly do not: a long run of fab bench checks values instead.",
        )
        return
    status: Status = judge_memory_errors(0, smi.pending, smi.failed, smi.uncorrectable or 0)
    advice = {
        "critical": "No spare rows are left: the card is worn out.",
        "warning": "Reboot, then watch whether the count grows.",
    }.get(status, "")
    if status == "ok" and (smi.retired or smi.remapped):
        status = "note"
    if smi.pending:
        reading.append("more at the next reset")
    yield Finding("memory", smi.address, status, ", ".join(reading), advice)


def _vbios(smi: Smi, generation: str) -> Iterator[Finding]:
    generations = yaml_source.load_yaml(HERE / "vbios.yml")["generations"].get(
        smi.vbios.split(".")[0]
    )
    if not smi.vbios or not generation or generations is None:
        yield Finding("VBIOS", smi.address, "unknown", smi.vbios or "not reported")
    elif generation in generations:
        yield Finding("VBIOS", smi.address, "ok", f"{smi.vbios}, of its generation")
    else:
        yield Finding(
            "VBIOS",
            smi.address,
            "critical",
            f"{smi.vbios} is of {' or '.join(generations)}, the card's device id of {generation}",
            "It was flashed, or reports a wrong model: ask the seller; flash its maker's VBIOS.",
        )


def _mixed(smis: Sequence[Smi]) -> Iterator[Finding]:
    """Cards of one name that run different versions: one may carry a miner's."""
    by_name: dict[str, set[str]] = {}
    for smi in smis:
        if smi.vbios:
            by_name.setdefault(smi.name, set()).add(smi.vbios)
    for name, versions in by_name.items():
        if len(versions) > 1:
            yield Finding(
                "VBIOS",
                name,
                "note",
                f"of different versions: {', '.join(sorted(versions))}",
                "Cards of different makers have; of one maker, compare with its own site.",
            )


def _heat(smi: Smi, limits: Mapping[str, float]) -> Iterator[Finding]:
    if smi.celsius is None:
        return
    at_work = (smi.busy or 0) > limits["idle_busy"]
    parts = [f"{smi.celsius:.0f} °C {'at work' if at_work else 'idle'}"]
    if smi.memory_celsius is not None:
        parts.append(f"memory {smi.memory_celsius:.0f} °C")
    if smi.fan is not None:
        parts.append(f"fan {smi.fan:.0f} %")
    reading = ", ".join(parts)
    hottest = limits["load_hot" if at_work else "idle_hot"]
    if smi.fan == 0 and smi.celsius > limits["fans_stopped_above"]:
        yield Finding(
            "heat",
            smi.address,
            "critical",
            f"{reading}: its fans do not turn",
            "Fans of mining cards wear out first: replace them before any long run.",
        )
    elif smi.celsius >= hottest or (smi.memory_celsius or 0) >= limits["memory_hot"]:
        yield Finding(
            "heat",
            smi.address,
            "warning",
            reading,
            "New paste and thermal pads, dust out, more room between the cards.",
        )
    elif at_work:
        yield Finding("heat", smi.address, "ok", reading)
    else:
        yield Finding(
            "heat", smi.address, "ok", reading, "What it is under load, fab validate shows later."
        )


def _power(smi: Smi, limits: Mapping[str, float]) -> Iterator[Finding]:
    if smi.power_limit is None or smi.power_default is None:
        return
    if abs(smi.power_limit - smi.power_default) > limits["power_limit_differs"]:
        yield Finding(
            "power limit",
            smi.address,
            "note",
            f"{smi.power_limit:.0f} W, by default {smi.power_default:.0f} W",
            "Set by a program; it is gone at the next boot unless that program runs again.",
        )
