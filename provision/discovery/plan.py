"""What the playbooks would do with a rig, in their own words, asked before they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from provision.discovery.survey import Survey, ansible_facts
from provision.engine.playbook_variables import evaluate_variables
from provision.inventory.hosts import Host, Inventory

REFUSALS = "refusals"  # the variable of preflight.yml that has them
REPAIRS = "preflight_repairs"  # of vars/rig_state.yml
POWER_LIMITS = "rig_power_limits"  # of vars/rig.yml


@dataclass(frozen=True)
class Refusal:
    """name: as preflight_accept has it."""

    name: str
    why: str


@dataclass(frozen=True)
class Repair:
    """What a run repairs, or waits for, in its words. is_serious: a run without it would fail."""

    name: str
    what: str
    is_serious: bool


@dataclass(frozen=True)
class ConversionPlan:
    """refusals: why the rig can't be converted as it is. power_limits: watts, by address."""

    refusals: tuple[Refusal, ...]
    repairs: tuple[Repair, ...]
    power_limits: Mapping[str, float]


def plan(
    look: Survey, host: Host, inventory: Inventory, extra: Mapping[str, Any]
) -> ConversionPlan:
    """Predict what preflight refuses and announces, and the power limits.

    Raises RenderError, SourceError.
    """
    # What preflight registers when it asks the repositories, as far as the first look asked them.
    asked = {"stdout_lines": look.tree.text_of("repositories").splitlines()}
    variables = (REFUSALS, REPAIRS, POWER_LIMITS)
    rows, repair_rows, limits = evaluate_variables(
        "preflight",
        host,
        inventory,
        ansible_facts(look),
        {"repositories": asked, **extra},
        variables,
    )
    refusals = [Refusal(row["name"], " ".join(row["why"].split())) for row in rows if row["bad"]]
    repairs = [
        Repair(row["name"], " ".join(row["what"].split()), row["status"] == "warning")
        for row in repair_rows
        if row["needed"]
    ]
    return ConversionPlan(tuple(refusals), tuple(repairs), limits)
