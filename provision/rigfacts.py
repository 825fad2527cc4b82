"""Gather the facts of rigs without playing anything, and without taking the rig's lock."""

from __future__ import annotations

import json
from typing import Any

from fabric import Config

from provision import hostwise, modules, summary, wrapping
from provision.boundary.facts import check_facts
from provision.errors import DeeprigError
from provision.inventory import Host
from provision.redact import Redactor, secrets_of
from provision.remote.options import normalize
from provision.sessions import Sessions, sessions_of
from provision.terminal import Terminal

LABEL = 9  # columns


def gather(host: Host, config: Config, accept_new: bool = False) -> dict[str, Any]:
    """All facts of a host, as root where that is possible. Raises UnreachableError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    try:
        return read(sessions)
    finally:
        sessions.close()


def ask(sessions: Sessions, module: str, **args: Any) -> dict[str, Any]:
    """What one module says on the rig, as root where that is possible."""
    unit = {
        "id": [1, 0],
        "module": module,
        "args": normalize(module, modules.options(module), args),
    }
    results: list[dict[str, Any]] = []
    for frame in sessions.get("root").run([unit], lambda frame: None):
        results += frame["results"]
    found: dict[str, Any] = results[0]["result"]
    return found


def read(sessions: Sessions) -> dict[str, Any]:
    """All facts, over sessions that are the caller's."""
    result = ask(sessions, "setup")
    if result.get("failed"):
        raise DeeprigError(f"its facts can't be read: {result.get('msg') or 'no reason given'}")
    return check_facts(result.get("ansible_facts", {}))


def show(hosts: list[Host], config: Config, accept_new: bool, as_json: bool) -> bool:
    """Print what each host is; False when one could not be reached."""
    found = hostwise.each(hosts, lambda host: gather(host, config, accept_new))
    console = Terminal()
    models = summary.gpu_models()
    variables = {host.name: host.variables for host in hosts}
    documents = {}

    def show_one(name: str, facts: dict[str, Any]) -> None:
        documents[name] = Redactor(secrets_of(variables[name])).value(facts)
        if not as_json:
            rows = summary.rows(facts, models)
            console.print(name, style="bold")
            wrapping.rows(rows, console, LABEL)

    status = hostwise.show_each(found, show_one)
    if as_json:
        print(json.dumps(documents, indent=2))
    return status == 0
