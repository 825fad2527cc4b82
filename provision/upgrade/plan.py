"""What an upgrade would change on a rig, and why it can't: pure, from facts and package lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provision.engine.playbook_variables import evaluate_variables
from provision.errors import SourceError
from provision.inventory.hosts import Host, Inventory

#: The playbook whose variables the plan is made of.
PLAYBOOK = "guard"
#: A driver branch, or a whole version of it.
DRIVER = re.compile(r"(\d{3,4})(\.\d+)*\Z")
#: A version as PEP 440 has it, with a local part.
TORCH = re.compile(r"\d+(\.\d+)+([abrcdevpost.\d]*)(\+[a-z0-9.]+)?\Z")


@dataclass(frozen=True)
class UpgradeRequest:
    """What the operator asked for.

    driver: a branch or a version; torch: a version; "" for what follows from the rig's branch and
    from deeprig's own table. within_branch: no other branch, whatever else would be newer.
    """

    driver: str = ""
    torch: str = ""
    within_branch: bool = False

    def settings(self) -> dict[str, str]:
        """Return the settings that make it so. Raises SourceError."""
        settings = {"nvidia_driver_version": "newest"}
        if self.driver:
            if self.within_branch:
                raise SourceError("--driver and --within-branch exclude each other")
            match = DRIVER.match(self.driver)
            if match is None:
                raise SourceError(
                    f"--driver {self.driver} is neither a branch nor a version",
                    advice="For example: --driver 590, or --driver 590.48.01.",
                )
            settings["nvidia_driver_branch"] = match.group(1)
            if match.group(2):
                settings["nvidia_driver_version"] = self.driver
        if self.torch:
            if TORCH.match(self.torch) is None:
                raise SourceError(
                    f"--torch {self.torch} is not a version", advice="For example: --torch 2.13.0."
                )
            settings["torch_requirement"] = f"torch=={self.torch}"
        return settings


@dataclass(frozen=True)
class VersionChange:
    """A piece of software before and after; "" is none."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class UpgradePlan:
    """What changes, or why nothing may."""

    changes: tuple[VersionChange, ...]
    refusals: tuple[str, ...]
    settings: Mapping[str, str]


def find_contradictions(host: Host, settings: Mapping[str, str]) -> list[str]:
    """Return why the inventory would undo the upgrade at the next provisioning."""
    return [
        f"the inventory sets {name}: {here} for this rig, and the next fab provision would go back "
        f"to it: write {settings[name]} there, then run this again"
        for name in ("nvidia_driver_branch", "torch_requirement")
        if name in settings
        and (here := str(host.variables.get(name, "auto"))) not in ("auto", settings[name])
    ]


def make_plan(
    host: Host,
    inventory: Inventory,
    facts: Mapping[str, Any],
    offers: Sequence[str],
    settings: Mapping[str, str],
    extra: Mapping[str, Any],
) -> UpgradePlan:
    """Return the plan for a rig.

    facts: under their `ansible_*` names. offers: lines "offer NAME VERSION URL" of the rig's
    package lists. extra: what -e sets. Raises RenderError.
    """
    given = {**extra, **settings, "repositories": {"stdout_lines": list(offers)}}
    rows, refusals = evaluate_variables(
        PLAYBOOK, host, inventory, facts, given, ("upgrade_rows", "upgrade_refusals")
    )
    changes = [
        VersionChange(str(row["what"]), str(row["before"]), str(row["after"])) for row in rows
    ]
    return UpgradePlan(
        tuple(change for change in changes if change.after and change.before != change.after),
        (*refusals, *find_contradictions(host, settings)),
        settings,
    )
