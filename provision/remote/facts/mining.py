"""Which mining operating system a rig runs, by the evidence for it."""

from __future__ import annotations

from typing import TypedDict

from provision.remote.dpkg import Database
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree


class Rule(TypedDict, total=False):
    """A rule of mining_os.json: one of the first five, and what it proves."""

    paths: list[str]
    package: str
    kernel: str
    label: str
    grub_distributor: str
    trace: bool
    whole: bool


class MiningSystem(TypedDict):
    """A mining system, and the evidence for it in words.

    others: the keys of further systems on the same disk, whose folders and evidence are here, too.
    """

    key: str
    name: str
    confidence: str
    folders: list[str]
    evidence: list[str]
    missing: list[str]
    others: list[str]


def mining_os(tree: Tree, packages: Database) -> MiningSystem | None:
    """Return the mining system: key, name, confidence, evidence, missing; None without one.

    What a conversion leaves (a `trace`: a label, a kernel's name) is evidence only beside another.
    `missing`, in words, is what a whole one has and this lacks: it was partly removed.
    Of several systems it is the one with the most evidence.
    """
    systems: list[MiningSystem] = []
    for system in table("mining_os.json")["systems"]:
        rules: list[Rule] = system["rules"]
        pairs = [(rule, _evidence(tree, packages, rule)) for rule in rules]
        if any(texts and not rule.get("trace") for rule, texts in pairs):
            systems.append(
                {
                    "key": system["key"],
                    "name": system["name"],
                    "confidence": system["confidence"],
                    "folders": system["folders"],
                    "evidence": [text for _, texts in pairs for text in texts],
                    "missing": [
                        _wanted(rule) for rule, texts in pairs if rule.get("whole") and not texts
                    ],
                    "others": [],
                }
            )
    if not systems:
        return None
    best = max(systems, key=lambda system: len(system["evidence"]))
    for other in (system for system in systems if system is not best):
        best["others"].append(other["key"])
        best["folders"] = [*best["folders"], *other["folders"]]
        best["evidence"] = [*best["evidence"], *other["evidence"]]
    return best


def _wanted(rule: Rule) -> str:
    """Return what a rule looks for, in words."""
    return f"package {rule['package']}" if "package" in rule else " and ".join(rule["paths"])


def _evidence(tree: Tree, packages: Database, rule: Rule) -> list[str]:
    """Return the evidence for one rule, in words; empty where it does not match."""
    if "paths" in rule:
        return rule["paths"] if all(tree.glob(path) for path in rule["paths"]) else []
    if "package" in rule:
        package = packages.find(rule["package"])
        return [f"package {package.name}"] if package and package.present else []
    if "kernel" in rule:
        release = tree.line("/proc/sys/kernel/osrelease")
        return [f"kernel {release}"] if rule["kernel"] in release else []
    if "label" in rule:
        there = tree.exists(f"/dev/disk/by-label/{rule['label']}")
        return [f"file system label {rule['label']}"] if there else []
    if "grub_distributor" in rule:
        distributor = tree.settings("/etc/default/grub").get("GRUB_DISTRIBUTOR", "")
        same = distributor == rule["grub_distributor"]
        return [f'GRUB_DISTRIBUTOR="{distributor}" in /etc/default/grub'] if same else []
    raise AssertionError(f"unknown rule of evidence: {rule}")
