"""What software can see of an item: pure functions over the case.

Each gives a status and what was read: `ok`, `to do`, or `open` where it can't be seen (yet).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agent.checks.judgements import hides_pcie_errors, judge_width, limit_to_card
from provision.boundary.facts import Gpu
from provision.checklist.conditions import REBAR_GENERATION
from provision.checklist.configuration import RigConfiguration
from provision.hardware import power

Status = Literal["ok", "to do", "open"]
GIB = 1 << 30
LEAST = 4  # lanes that make a slot's part worth it, where what a board can is not known
#: Of a card's own power: below it few cards take a limit, and none is worth running.
LEAST_LIMIT = 0.5
FOUR_GIB = 4 * GIB
#: The kernel's words when a device gets no addresses (drivers/pci/setup-res.c, setup-bus.c).
NO_SPACE = ("can't assign; no space", "no space for [mem", "failed to assign [mem")


@dataclass(frozen=True)
class Observation:
    """The status of an item, and its source."""

    status: Status
    reading: str


def _ok(good: bool, reading: str) -> Observation:
    return Observation("ok" if good else "to do", reading)


def _unseen(why: str = "not seen without the rig") -> Observation:
    return Observation("open", why)


def risers(case: RigConfiguration) -> Observation:
    """Return whether a port above a GPU could have more lanes than reach it."""
    if not case.gpus:
        return _unseen()
    narrow = []
    for gpu in case.gpus:
        # The last port above the card is the slot; the card itself reports x16 in any slot.
        slot = gpu["path"][-2] if len(gpu["path"]) > 1 else None
        most = limit_to_card(slot["max_width"] or 0, _card_width(gpu)) if slot else 0
        if slot and judge_width(slot["current_width"] or 0, most) != "ok":
            narrow.append(f"{gpu['address']} has x{slot['current_width']} of x{most}")
    return _ok(not narrow, "; ".join(narrow) or "as wide as the slots are")


def _card_width(gpu: Gpu) -> int | None:
    """Return the card's own lanes; None where they are not known."""
    return gpu["path"][-1]["max_width"] if gpu["path"] else None


def nvme(case: RigConfiguration) -> Observation:
    """Return whether there is a disk that may take lanes."""
    if case.facts is None:
        return _unseen()
    disks = case.facts["board"]["nvme"]
    if not disks:
        return Observation("ok", "no NVMe disk")
    return Observation("open", f"an NVMe disk at {', '.join(disks)}: in which M.2 slot is it?")


def budget(case: RigConfiguration) -> Observation:
    """Return whether the supplies carry the GPUs at the limits that provisioning sets."""
    if not case.psus or not case.limits:
        return _unseen("set the supplies in the inventory: psus: [750, 750]")
    names = [f"GPU {at}" for at in range(case.count)]
    planned = power.budget("", list(zip(names, case.limits, strict=True)), case.psus)
    loads = ", ".join(f"{supply.used:.0f} of {supply.usable:.0f} W" for supply in planned.supplies)
    if planned.carries:
        return Observation("ok", loads)
    fits = power.fitting_limit(case.count, case.psus)
    if fits < LEAST_LIMIT * max(card.board_power for card in case.cards):
        return Observation("to do", f"{loads}: too much for any sensible limit, add a supply")
    return Observation("to do", f"{loads}; {fits:.0f} W for each GPU would fit")


def watchdog(case: RigConfiguration) -> Observation:
    """Return whether a USB watchdog is plugged in."""
    if case.facts is None:
        return _unseen()
    names = [
        usb_watchdog["product"] or usb_watchdog["id"]
        for usb_watchdog in case.facts["usb_watchdogs"]
    ]
    return _ok(not names, ", ".join(names) or "none")


def split(case: RigConfiguration) -> Observation:
    """Return whether the GPUs are on sub-links of the processor's, as wide as is wanted.

    Sub-links are counted: firmware can provide fewer than its menu shows.
    """
    if not case.gpus or case.facts is None:
        return _unseen()
    direct = [gpu for gpu in case.gpus if len(gpu["path"]) == 2 and gpu["root_port"]]
    used = {root for gpu in direct if (root := gpu["root_port"])}
    # The parts of one slot are functions of one device (00:03.1, 00:03.2); empty ones count, too.
    slots = {address.rpartition(".")[0] for address in used}
    ports = [
        port
        for port in case.facts["root_ports"]
        if port["address"] in used
        or (port["address"].rpartition(".")[0] in slots and (port["max_width"] or 0) >= LEAST)
    ]
    links = [f"{port['address']} x{port['max_width']}" for port in ports]
    many = "sub-link" if len(links) == 1 else "sub-links"
    count = f"{len(links)} {many} of the processor's"
    reading = f"{count}: {', '.join(links)}" if links else "no sub-link"
    need = case.wanted or LEAST
    enough = [gpu for gpu in direct if (gpu["path"][0]["max_width"] or 0) >= need]
    if len(enough) < case.count and not case.wanted:
        return _unseen(f"{reading}; what this board supports is not known")
    return _ok(len(enough) == case.count, reading)


def above_4g(case: RigConfiguration) -> Observation:
    """Return whether the firmware gives addresses above 4 GiB."""
    if not case.gpus:
        return _unseen()
    starts = [max((bar["start"] for bar in gpu["bars"]), default=0) for gpu in case.gpus]
    if any(message in case.messages for message in NO_SPACE):
        return Observation("to do", "the kernel found no room for a device's memory")
    if not all(starts):
        return Observation("to do", "a GPU has no memory window at all")
    high = sum(start >= FOUR_GIB for start in starts)
    return _ok(high == len(starts), f"{high} of {len(starts)} GPUs have windows above 4 GiB")


def rebar(case: RigConfiguration) -> Observation:
    """Return whether the largest window of a card that can is as large as its memory."""
    if not case.gpus:
        return _unseen()
    reading: Counter[str] = Counter()
    good = True
    for gpu, card in zip(case.gpus, case.cards, strict=True):
        size = max((bar["size_bytes"] for bar in gpu["bars"]), default=0)
        if card.generation >= REBAR_GENERATION:
            good &= size >= card.memory_bytes > 0
            most = max((bar["largest_bytes"] or 0 for bar in gpu["bars"]), default=0)
            limit = f", at most {most / GIB:g}" if most else ""
            reading[f"{size / GIB:g} GiB of {card.memory_bytes / GIB:g}{limit}"] += 1
    return _ok(good, ", ".join(f"{count} x {text}" for text, count in reading.items()))


def csm(case: RigConfiguration) -> Observation:
    """Return whether the system was booted by EFI."""
    if case.facts is None:
        return _unseen()
    efi = case.facts["board"]["efi"]
    return _ok(efi, "booted by EFI" if efi else "booted in legacy mode")


def iommu(case: RigConfiguration) -> Observation:
    """Return whether devices' addresses are translated."""
    if case.facts is None:
        return _unseen()
    words = case.facts["kernel"]["command_line"]
    if not case.facts["board"]["iommus"]:
        return Observation("ok", "off")
    passes = "iommu=pt" in words or "iommu.passthrough=1" in words
    return _ok(passes, "on, in passthrough" if passes else "on, and it translates")


def generation(case: RigConfiguration) -> Observation:
    """Return whether a link has errors."""
    if not case.gpus:
        return _unseen()
    error_counts: dict[str, int] = {}
    counted = False
    for gpu in case.gpus:
        for port in gpu["path"]:
            if port["errors"] is not None:
                counted = True
                if total := sum(port["errors"].values()):
                    error_counts[port["address"]] = total
    if not counted:
        return _unseen("the kernel counts no PCIe errors yet")
    reading = ", ".join(f"{count} at {address}" for address, count in error_counts.items())
    return _ok(not error_counts, reading or "none since the boot")


def secure_boot(case: RigConfiguration) -> Observation:
    """Return whether the firmware refuses modules without a signature."""
    if case.facts is None:
        return _unseen()
    on = case.facts["secure_boot"]
    return _ok(on is not True, {True: "on", False: "off", None: "not there"}[on])


def errors_visible(case: RigConfiguration) -> Observation:
    """Return whether PCIe errors are counted."""
    if not case.gpus or case.facts is None:
        return _unseen()
    if hides_pcie_errors(case.facts["kernel"]["command_line"]):
        return Observation("to do", "pci=noaer on the kernel's command line")
    counted = any(port["errors"] is not None for gpu in case.gpus for port in gpu["path"])
    return _ok(counted, "counted" if counted else "the kernel has no counters here")


def windows(case: RigConfiguration) -> Observation:
    """Return whether every GPU has memory windows."""
    if not case.gpus:
        return _unseen()
    without = [gpu["address"] for gpu in case.gpus if not gpu["bars"]]
    if without:
        return Observation("to do", f"none: {', '.join(without)}")
    short = any(message in case.messages for message in NO_SPACE)
    reading = "the kernel found no room for a device's memory" if short else "all have"
    return _ok(not short, reading)


def width(case: RigConfiguration) -> Observation:
    """Return whether every path is as wide as is wanted."""
    if not case.gpus:
        return _unseen()
    narrow = [
        f"{gpu['address']} x{gpu['path_width'] or 0}"
        for gpu in case.gpus
        if judge_width(gpu["path_width"] or 0, limit_to_card(case.wanted, _card_width(gpu))) != "ok"
    ]
    reading = f"{', '.join(narrow)}, and x{case.wanted} is possible" if narrow else ""
    return _ok(not narrow, reading or f"x{case.wanted} or more, or all that the card has")


def speed(case: RigConfiguration) -> Observation:
    """Return whether every link was at its speed when the agent last saw it under load."""
    if not case.paths:
        return _unseen("no agent reports it: fab validate tests the GPUs under load")
    seen = [path for path in case.paths if path.get("loaded_speed") is not None]
    if len(seen) < len(case.paths):
        return _unseen("not every GPU was under load since the boot: fab validate")
    slow = [
        f"{path['address']} {loaded / 1e9:g} GT/s"
        for path in seen
        if (loaded := path.get("loaded_speed")) is not None
        and loaded < (path.get("expected_speed") or 0)
    ]
    return _ok(not slow, ", ".join(slow) or "at full speed")


OBSERVERS: Mapping[str, Callable[[RigConfiguration], Observation]] = {
    observer.__name__: observer
    for observer in (
        risers,
        nvme,
        budget,
        watchdog,
        split,
        above_4g,
        rebar,
        csm,
        iommu,
        generation,
        secure_boot,
        errors_visible,
        windows,
        width,
        speed,
    )
}


def observe(case: RigConfiguration, name: str) -> Observation:
    """Return an item's observation; facts of an older deeprig may lack values."""
    try:
        return OBSERVERS[name](case)
    except (KeyError, TypeError) as error:
        missing: Any = error
        return _unseen(f"the rig's facts do not have it ({missing})")
