"""A rig in a few lines, from its facts: what `fab facts` prints, and the demo side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

from agent.checks.judgements import hides_pcie_errors
from provision.boundary.facts import Driver, GatheredFacts, Gpu, Kernel, MiningOs, RigFacts
from provision.boundary.text import clean
from provision.inventory import yaml_source
from provision.paths import INVENTORY

GPU_TABLE = INVENTORY / "hardware" / "gpus.yml"


class GpuRow(TypedDict):
    """Of a row of gpu_models, what is shown."""

    name: str


def summarize_facts(facts: GatheredFacts, models: Mapping[str, GpuRow]) -> list[tuple[str, str]]:
    """(label, value) pairs of `ansible_*` facts; what is around miners has a pair only where it is.

    `models` is gpu_models of the hardware table. A value may have several lines.
    """
    rig = facts["ansible_local"]["deeprig"]
    base = f"{facts['ansible_distribution']} {facts['ansible_distribution_version']}"
    memory, disk, board = rig["memory"], rig["root_disk"], rig["board"]
    rows = [
        ("system", "\n".join([_system(rig["mining_os"], base), *_owners(rig)])),
        ("kernel", _kernel(rig["kernel"])),
        ("board", f"{board['vendor']} {board['name']}"),
        ("CPU", f"{rig['cpu']['model']}, {rig['cpu']['threads']} threads"),
        ("memory", f"{memory['total_mib']} MiB, swap {memory['swap_total_mib']} MiB"),
        ("disk", f"{disk['size_bytes'] / 1e9:.0f} GB, {disk['free_bytes'] / 1e9:.0f} free"),
        ("GPUs", _gpus(rig["gpus"], models)),
        ("driver", _driver(rig["driver"])),
        ("CUDA", rig["software"]["cuda"] or "none"),
        ("NCCL", rig["software"]["nccl"] or "none"),
        ("PyTorch", rig["software"]["torch"] or "none"),
        ("miners", _miners(rig)),
    ]
    if rig["surroundings"]:
        rows.append(("around them", _surroundings(rig)))
    return [(label, clean(value)) for label, value in rows]


def gpu_models() -> Mapping[str, GpuRow]:
    """Rows of the hardware table by PCI device id."""
    models: Mapping[str, GpuRow] = yaml_source.load_yaml(GPU_TABLE)["gpu_models"]
    return models


def _system(mining: MiningOs | None, base: str) -> str:
    if not mining:
        return base
    gaps = f"; partly removed: no {', no '.join(mining['missing'])}" if mining["missing"] else ""
    return f"{mining['name']} on {base}\n(by {', '.join(mining['evidence'])}{gaps})"


def _gpus(gpus: Sequence[Gpu], models: Mapping[str, GpuRow]) -> str:
    if not gpus:
        return "none on the PCIe bus"
    lines: Counter[str] = Counter()
    for gpu in gpus:
        device = gpu["device_id"]
        name = models[device]["name"] if device in models else f"NVIDIA {device}"
        speed = gpu["path_speed_max_gts"]
        at = f" at up to {speed:g} GT/s" if speed else ""
        lines[f"{name}, x{gpu['path_width'] or '?'}{at}"] += 1
    return "\n".join(f"{count} x {line}" for line, count in lines.items())


def _driver(driver: Driver) -> str:
    if driver["nouveau_loaded"]:
        return "nouveau"
    if not driver["loaded_version"]:
        return "none loaded"
    kind = driver["loaded_flavour"] or ""
    origin = "" if driver["library_owner"] != "runfile" else ", from a .run file"
    if driver["library_version"] != driver["loaded_version"]:
        origin += f", but its library is {driver['library_version']}"
    return f"{driver['loaded_version']} {kind}{origin}"


def _owners(rig: RigFacts) -> list[str]:
    """Return whose the rig is, or was, beside its owner's."""
    lines = [
        f"a host of {rental['name']} (by {', '.join(rental['evidence'])})"
        for rental in rig["rental"]
    ]
    taken_over = rig["taken_over"]
    for when, signs in (("", taken_over["signs"]), ("once ", taken_over["recorded"])):
        places = sorted({f"{sign['evidence']}: {sign['name']}" for sign in signs})
        if places:
            lines.append(f"{when}taken over ({'; '.join(places)})")
    return lines


def _kernel(kernel: Kernel) -> str:
    following = kernel["boot"]["next"]
    other = following and following["release"] and following["release"] != kernel["release"]
    boots = f", next boot: {following['release']}" if following and other else ""
    return kernel["release"] + boots + _hazards(kernel["command_line"])


def _hazards(command_line: list[str]) -> str:
    return ", PCIe errors hidden (pci=noaer)" if hides_pcie_errors(command_line) else ""


def _surroundings(rig: RigFacts) -> str:
    """Return each kind of what is around a miner, with its number where there are several."""
    kinds = Counter(row["kind"] for row in rig["surroundings"] if row["kind"] != "link")
    if links := sum(row["kind"] == "link" for row in rig["surroundings"]):
        kinds["unit that leads into a mining system"] = links
    parts = [f"{kind} ({number})" if number > 1 else kind for kind, number in kinds.items()]
    return ", ".join(parts)


def _miners(rig: RigFacts) -> str:
    running = sorted(
        {miner["name"] for miner in rig["miners"] if miner["evidence"].startswith("pid ")}
    )
    started = {miner["name"] for miner in rig["miners"] if not miner["evidence"].startswith("pid ")}
    parts = [f"{', '.join(running)} running"] if running else []
    if more := len(started - set(running)):
        places = (
            "place that starts things by itself"
            if more == 1
            else ("places that start things by themselves")
        )
        parts.append(f"{more} more {places}")
    return "; ".join(parts) or "none"
