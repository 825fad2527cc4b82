"""What the verbs of fabfile.py do: put inventory, playbook and flags together, and run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from provision import bundle
from provision.executor import FleetContext
from provision.flags import Flags
from provision.inventory import Host, Inventory
from provision.options import RunOptions, extra_variables, words
from provision.sessions import Sessions, sessions_of

if TYPE_CHECKING:
    from provision.outcome import Recap

ROOT = Path(__file__).parent.parent
PROVISION = ROOT / "playbooks" / "provision.yml"


def provision(context: FleetContext, flags: Flags) -> None:
    """Play the steps from mining OS to deep learning host."""
    _play(context, flags, PROVISION, "provision")


def play(context: FleetContext, flags: Flags, file: str) -> None:
    """Play one playbook file."""
    _play(context, flags, Path(file), "play")


def _play(context: FleetContext, flags: Flags, path: Path, verb: str) -> None:
    inventory, hosts = context.fleet(flags)
    sessions = {h.name: sessions_of(h, context.config, flags.accept_new) for h in hosts}
    try:
        for each in sessions.values():
            each.connect_early()  # connecting is mostly waiting: the rest is got ready meanwhile
        bundle.payload(exclusive=True)
        recaps = _run(flags, path, verb, inventory, hosts, sessions)
    finally:
        for each in sessions.values():
            each.close()
    if status := max(recap.exit_status for recap in recaps):
        raise Exit(code=status)


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


def facts(context: FleetContext, flags: Flags) -> None:
    """Show what each rig is; with --json, all facts."""
    from provision import rigfacts

    _, hosts = context.fleet(flags)
    if not rigfacts.show(hosts, context.config, flags.accept_new, flags.json):
        raise Exit(code=4)
