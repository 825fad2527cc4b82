"""What the verbs of fabfile.py do: put inventory, playbook and flags together, and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit

from provision import bundle
from provision.executor import FleetContext
from provision.flags import Flags
from provision.inventory import Host, Inventory
from provision.options import RunOptions, extra_variables, words
from provision.places import ROOT
from provision.sessions import Sessions, sessions_of

if TYPE_CHECKING:
    from provision.outcome import Recap

PROVISION = ROOT / "playbooks" / "provision.yml"


def provision(context: FleetContext, flags: Flags, yes_really: bool = False) -> None:
    """Play the steps from mining OS to deep learning host."""
    if yes_really:  # playbooks/preflight.yml asks for it
        flags = replace(flags, e=(*flags.e, "yes_really=true"))
    _end(recaps(context, flags, PROVISION, "provision"))


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    _end(recaps(context, flags, Path(file), "play"))


def _end(recaps: list[Recap]) -> None:
    if status := max(recap.exit_status for recap in recaps):
        raise Exit(code=status)


def recaps(context: FleetContext, flags: Flags, path: Path, verb: str) -> list[Recap]:
    """Play a playbook file on every host that -H names, and tell how it went on each."""
    inventory, hosts = context.fleet(flags)
    sessions = {h.name: sessions_of(h, context.config, flags.accept_new) for h in hosts}
    try:
        for each in sessions.values():
            each.connect_early()  # connecting is mostly waiting: the rest is got ready meanwhile
        bundle.payload(exclusive=True)
        return _run(flags, path, verb, inventory, hosts, sessions)
    finally:
        for each in sessions.values():
            each.close()


def _run(
    flags: Flags,
    path: Path,
    verb: str,
    inventory: Inventory,
    hosts: list[Host],
    sessions: dict[str, Sessions],
) -> list[Recap]:
    from provision import playbook, runner  # with Jinja2 and rich, slow to import

    options = RunOptions(
        check=flags.check,
        diff=flags.diff,
        tags=words(flags.tags),
        skip_tags=words(flags.skip_tags),
        extra=extra_variables(flags.e),
    )
    return runner.run(
        playbook.load(path),
        hosts,
        sessions,
        inventory,
        options,
        verb=verb,
        as_json=flags.json,
        verbose=flags.verbose,
    )


def advise(context: FleetContext, flags: Flags, given: Mapping[str, Any]) -> None:
    """Predict what runs on each rig and how fast; `given`: the verb's own flags by name."""
    from provision.advise import verb

    if not verb.advise(context, flags, verb.wanted(given)):
        raise Exit(code=4)


def facts(context: FleetContext, flags: Flags) -> None:
    """Show what each rig is; with --json, all facts."""
    from provision import rigfacts

    _, hosts = context.fleet(flags)
    if not rigfacts.show(hosts, context.config, flags.accept_new, flags.json):
        raise Exit(code=4)
