"""Signs of a personal computer, which provisioning must not convert by mistake."""

from __future__ import annotations

from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree


def workstation(tree: Tree) -> list[str]:
    """Return the evidence in words; none for a rig. Mining systems have no desktop."""
    lists = table("workstation.json")
    evidence = []
    chassis = lists["portable_chassis"].get(tree.line("/sys/class/dmi/id/chassis_type"))
    if chassis:
        evidence.append(f"its chassis is a {chassis}'s")
    # A mouse or a UPS has a battery, too: its scope in sysfs is a device.
    supplies = [f"/sys/class/power_supply/{name}" for name in tree.names("/sys/class/power_supply")]
    if any(
        tree.line(f"{supply}/type") == "Battery" and tree.line(f"{supply}/scope") != "Device"
        for supply in supplies
    ):
        evidence.append("it has a battery")
    # The kernel cuts a process's name after 15 characters.
    desktops = {name[:15]: name for name in lists["desktops"]}
    running = {tree.line(f"{folder}/comm") for folder in tree.processes()}
    evidence += [
        f"{desktops[name]} runs: a desktop session" for name in sorted(running & set(desktops))
    ]
    return evidence
