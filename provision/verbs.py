"""What the verbs of fabfile.py do: put inventory, playbook and flags together, and run."""

from __future__ import annotations

from pathlib import Path

from invoke.exceptions import Exit

from provision import playbook, runner
from provision.executor import FleetContext
from provision.flags import Flags
from provision.options import RunOptions, extra_variables, words

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
    options = RunOptions(
        check=flags.check,
        diff=flags.diff,
        tags=words(flags.tags),
        skip_tags=words(flags.skip_tags),
        extra=extra_variables(flags.e),
    )
    recaps = runner.run(
        playbook.load(path),
        hosts,
        inventory,
        options,
        verb=verb,
        config=context.config,
        accept_new=flags.accept_new,
        as_json=flags.json,
        verbose=flags.verbose,
    )
    if status := max(recap.exit_status for recap in recaps):
        raise Exit(code=status)


def facts(context: FleetContext, flags: Flags) -> None:
    """Show what each rig is; with --json, all facts."""
    from provision import rigfacts

    _, hosts = context.fleet(flags)
    if not rigfacts.show(hosts, context.config, flags.accept_new, flags.json):
        raise Exit(code=4)
