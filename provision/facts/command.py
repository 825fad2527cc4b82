"""`fab facts`: show what a rig is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from provision.boundary.facts import GatheredFacts
from provision.cli.answers import show_answers
from provision.discovery import summary
from provision.discovery.gather import gather_facts
from provision.output.redaction import Redactor, secrets_of
from provision.output.tables import print_pairs
from provision.output.terminal import Terminal
from provision.ssh.fanout import run_on_hosts

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext

LABEL = 8  # columns


def show_facts(context: FleetContext, flags: Flags) -> None:
    """Show what each rig is; with --json, all facts. Raises Exit when a rig did not answer."""
    _, hosts = context.fleet(flags)
    answers = run_on_hosts(hosts, lambda host: gather_facts(host, context.config, flags.accept_new))
    console = Terminal()
    models = summary.gpu_models()
    variables = {host.name: host.variables for host in hosts}
    documents = {}

    def show_one(name: str, facts: GatheredFacts) -> None:
        documents[name] = Redactor(secrets_of(variables[name])).value(facts)
        if not flags.json:
            rows = summary.summarize_facts(facts, models)
            console.print(name, style="bold")
            print_pairs(console, rows, LABEL)

    status = show_answers(answers, show_one)
    if flags.json:
        print(json.dumps(documents, indent=2))
    if status:
        raise Exit(code=status)
