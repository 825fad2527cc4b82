"""Gather the facts of rigs without playing anything, and without taking the rig's lock."""

from __future__ import annotations

from typing import Any

from fabric import Config

from provision.boundary.facts import GatheredFacts, check_facts
from provision.boundary.messages import UnitResult, make_unit
from provision.engine import module_registry
from provision.errors import DeeprigError
from provision.inventory.hosts import Host
from provision.remote.options import normalize
from provision.ssh.rig_sessions import Sessions, sessions_of


def gather_facts(host: Host, config: Config, accept_new: bool = False) -> GatheredFacts:
    """Return all facts of a host, as root where that is possible. Raises UnreachableError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    try:
        return read_facts(sessions)
    finally:
        sessions.close()


def run_module(sessions: Sessions, module: str, **args: Any) -> dict[str, Any]:
    """Return the result of one module on the rig, as root where that is possible."""
    unit = make_unit(1, module, normalize(module, module_registry.options(module), args))
    results: list[UnitResult] = []
    for news in sessions.get("root").run([unit], lambda progress: None):
        results += news.results
    return results[0].values


def read_facts(sessions: Sessions) -> GatheredFacts:
    """Return all facts, over sessions that the caller closes."""
    result = run_module(sessions, "setup")
    if result.get("failed"):
        raise DeeprigError(f"cannot read the facts: {result.get('msg') or 'no reason given'}")
    return check_facts(result.get("ansible_facts", {}))
