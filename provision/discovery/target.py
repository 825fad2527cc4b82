"""A rig as the suite gets it: a way to run commands, its facts, and what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fabric import Config

from provision.boundary.facts import RigFacts
from provision.discovery.backend import RigBackend
from provision.discovery.gather import read_facts
from provision.engine.playbook_variables import evaluate_variables
from provision.engine.run_options import extra_variables
from provision.errors import RenderError
from provision.inventory.hosts import Host, Inventory, load_inventory
from provision.ssh.rig_sessions import sessions_of, sudo_password
from provision.ssh.shell import RootShell

EXPECTED = "validation_expected"  # playbooks/vars/validation.yml


@dataclass(frozen=True)
class Target:
    """facts: `ansible_local.deeprig`. expected: playbooks/vars/validation.yml has its keys."""

    name: str
    backend: RigBackend
    facts: RigFacts
    expected: Mapping[str, Any]


def select_hosts(
    pattern: str, inventory: str | None, extra: tuple[str, ...]
) -> list[tuple[Host, Any]]:
    """Return the hosts of a pattern and their inventory. Raises PatternError, SourceError."""
    loaded = load_inventory(inventory)
    given = extra_variables(extra)
    hosts = loaded.select(pattern.split(","))
    return [(replace(host, variables={**host.variables, **given}), loaded) for host in hosts]


def connect_target(
    host: Host,
    inventory: Inventory,
    config: Config,
    extra: tuple[str, ...] = (),
    accept_new: bool = False,
) -> Target:
    """Connect, gather the facts, and work out what the rig should be. Raises DeeprigError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    try:
        facts = read_facts(sessions)
        shell = RootShell(sessions.hand_over(), sudo_password(host, config))
    finally:
        sessions.close()
    rig = facts["ansible_local"]["deeprig"]
    return Target(
        host.name,
        RigBackend(host.name, shell),
        rig,
        evaluate_expectations(host, inventory, facts, extra),
    )


def evaluate_expectations(
    host: Host, inventory: Inventory, facts: Mapping[str, Any], extra: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """Return the expectations for a rig with these `ansible_*` facts. Raises RenderError."""
    given = extra_variables(extra)
    (wanted,) = evaluate_variables("validation", host, inventory, facts, given, (EXPECTED,))
    if not isinstance(wanted, Mapping):
        raise RenderError(f"{EXPECTED} is not a mapping")
    return wanted
