"""What `fab reinstall` would do to a rig, and why it refuses to: functions of the survey."""

from __future__ import annotations

from dataclasses import dataclass

from provision.reinstall.survey import ReinstallSurvey
from provision.reinstall.systems import System

TREES = ("/deeprig-1", "/deeprig-2")
#: File systems in which GRUB can write its environment, and find a folder of the root.
FILE_SYSTEMS = ("ext4", "ext3", "ext2")
#: Kinds of devices between a file system and a disk that GRUB's environment does not work on.
LAYERS = {"lvm": "LVM", "crypt": "LUKS", "linear": "RAID", "dm": "device mapper", "loop": "a loop"}
MEMORY_SYSTEMS = ("overlay", "tmpfs", "squashfs", "aufs", "ramfs")
#: Bytes: what a new system takes unpacked, and for the first upgrades of its packages.
SYSTEM_BYTES = 1_500_000_000
INODES = 60_000
LEAST_MEMORY = 900 << 20  # bytes: for an initramfs with all drivers
GB = 1e9


@dataclass(frozen=True)
class ReinstallPlan:
    """What would be done. refusals: reasons with advice, all at once; empty if it can be done."""

    survey: ReinstallSurvey
    system: System
    tree: str
    needed_bytes: int
    refusals: tuple[str, ...]


def choose_tree(survey: ReinstallSurvey) -> str:
    """Return the folder for the new system: the tree that does not run."""
    return next(tree for tree in TREES if tree != survey.running)


def make_plan(survey: ReinstallSurvey, system: System, image_bytes: int) -> ReinstallPlan:
    """Return the plan for a rig. image_bytes: of the compressed image; 0 if not built yet."""
    tree = choose_tree(survey)
    there = survey.tree(tree)
    needed = 0 if there and there.digest else SYSTEM_BYTES + image_bytes - survey.image_bytes
    return ReinstallPlan(survey, system, tree, needed, tuple(_list_refusals(survey, needed)))


def _list_refusals(survey: ReinstallSurvey, needed: int) -> list[str]:
    reasons = []
    if survey.missing:
        reasons.append(f"the rig lacks programs: {', '.join(survey.missing)}. Install them first.")
    if survey.architecture != "x86_64":
        reasons.append(f"the rig's processor is {survey.architecture}, and not x86_64.")
    if survey.file_system in MEMORY_SYSTEMS:
        reasons.append(
            f"the root file system is in memory ({survey.file_system}): a new system would not "
            "outlive a reboot. Install one on an SSD."
        )
    elif survey.file_system not in FILE_SYSTEMS:
        reasons.append(
            f"the root file system is {survey.file_system or 'unknown'}, in which GRUB can't write "
            "its environment: there would be no way back."
        )
    layers = sorted(
        {LAYERS.get(kind, "RAID" if kind.startswith("raid") else "") for _, kind in survey.layers}
        - {""}
    )
    if layers:
        reasons.append(
            f"the root file system is on {' and '.join(layers)}: there would be no way back."
        )
    reasons += _list_boot_refusals(survey)
    if needed > survey.room:
        reasons.append(
            f"the disk has {survey.room / GB:.1f} GB free, and the new system takes "
            f"{needed / GB:.1f} GB: {(needed - survey.room) / GB:.1f} GB are missing. Make room."
        )
    if 0 < survey.inodes < INODES:
        reasons.append(
            f"the file system has room for {survey.inodes} further files, and {INODES} are needed."
        )
    if 0 < survey.memory < LEAST_MEMORY:
        reasons.append(f"the rig has {survey.memory / GB:.1f} GB of memory, and 0.9 GB are needed.")
    return reasons + _list_network_refusals(survey)


def _list_boot_refusals(survey: ReinstallSurvey) -> list[str]:
    reasons = []
    if not survey.platforms or not survey.grub:
        return ["the rig does not boot by GRUB 2: another boot loader has no way back."]
    if not survey.reads_custom or not survey.boots_once:
        lacks = "custom.cfg" if not survey.reads_custom else "next_entry"
        reasons.append(
            f"GRUB's configuration on the rig does not read {lacks}. Write it again: update-grub."
        )
    if not survey.has_environment:
        reasons.append(
            "GRUB has no environment file (grubenv) on the rig. Make one: grub-editenv - create."
        )
    if survey.boot_file_system and survey.boot_file_system not in FILE_SYSTEMS:
        reasons.append(
            f"/boot is on {survey.boot_file_system}, which GRUB can't write its environment in."
        )
    if survey.secure_boot:
        reasons.append(
            "Secure Boot is on: the old GRUB would not start the new kernel. Turn it off in the "
            "board's setup."
        )
    return reasons


def _list_network_refusals(survey: ReinstallSurvey) -> list[str]:
    if not survey.interfaces:
        return ["the rig has no default route, so its network can't be kept as it is."]
    return [
        f"the rig is reached over {interface.name}, which is "
        + (
            "Wi-Fi: use a cable."
            if interface.kind == "wifi"
            else "no network card (a bridge, bond or VPN)."
        )
        for interface in survey.interfaces
        if interface.kind != "ethernet"
    ]
