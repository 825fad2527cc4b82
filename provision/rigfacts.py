"""Gather the facts of rigs without playing anything, and without taking the rig's lock."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fabric import Config
from rich.console import Console

from provision import modules, summary
from provision.errors import DeeprigError, describe
from provision.inventory import Host
from provision.redact import Redactor, secrets_of
from provision.remote.options import normalize
from provision.sessions import sessions_of


def gather(host: Host, config: Config, accept_new: bool = False) -> dict[str, Any]:
    """All facts of a host, as root where that is possible. Raises UnreachableError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    unit = {
        "id": [1, 0],
        "module": "setup",
        "args": normalize("setup", modules.options("setup"), {}),
    }
    try:
        results: list[dict[str, Any]] = []
        for frame in sessions.get("root").run([unit], lambda frame: None):
            results += frame["results"]
    finally:
        sessions.close()
    result = results[0]["result"]
    if result.get("failed"):
        raise DeeprigError(f"its facts can't be read: {result['msg']}")
    facts: dict[str, Any] = result["ansible_facts"]
    return facts


def show(hosts: list[Host], config: Config, accept_new: bool, as_json: bool) -> bool:
    """Print what each host is; False when one could not be reached."""
    found: dict[str, dict[str, Any] | DeeprigError] = {}

    def one(host: Host) -> None:
        try:
            found[host.name] = gather(host, config, accept_new)
        except DeeprigError as error:
            found[host.name] = error
        except Exception as error:  # of one host, and the others are shown
            found[host.name] = DeeprigError(f"deeprig itself broke here: {error!r}")

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(one, hosts))
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(highlight=False, soft_wrap=True, stderr=True)  # --json has stdout to itself
    models = summary.gpu_models()
    documents = {}
    for host in hosts:
        facts = found[host.name]
        if isinstance(facts, DeeprigError):
            errors.print(describe(facts, host.name), style="red", markup=False)
            continue
        documents[host.name] = Redactor(secrets_of(host.variables)).value(facts)
        if not as_json:
            console.print(host.name, style="bold", markup=False)
            for label, value in summary.rows(facts, models):
                console.print(f"  {label:<8} {value}".replace("\n", "\n" + " " * 11), markup=False)
    if as_json:
        print(json.dumps(documents, indent=2))
    return len(documents) == len(hosts)
