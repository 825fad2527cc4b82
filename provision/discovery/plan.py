"""What the playbooks would do with a rig, in their own words, asked before they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provision.discovery.survey import Survey, ansible_facts
from provision.engine.playbook_variables import evaluate_variables
from provision.inventory.hosts import Host, Inventory

REFUSALS = "refusals"  # the variable of preflight.yml that has them
POWER_LIMITS = "rig_power_limits"  # of vars/rig.yml


@dataclass(frozen=True)
class Refusal:
    """name: as preflight_accept has it."""

    name: str
    why: str


@dataclass(frozen=True)
class ConversionPlan:
    """refusals: why the rig can't be converted as it is. power_limits: watts, by address."""

    refusals: tuple[Refusal, ...]
    power_limits: Mapping[str, float]


def plan(
    look: Survey, host: Host, inventory: Inventory, extra: Mapping[str, Any]
) -> ConversionPlan:
    """Predict preflight's refusals and the power limits. Raises RenderError, SourceError."""
    rows, limits = evaluate_variables(
        "preflight", host, inventory, ansible_facts(look), extra, (REFUSALS, POWER_LIMITS)
    )
    refusals = [Refusal(row["name"], " ".join(row["why"].split())) for row in rows if row["bad"]]
    return ConversionPlan(tuple(refusals), limits)
