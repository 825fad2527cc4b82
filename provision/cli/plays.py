"""Play a playbook file on the hosts that -H names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from invoke.exceptions import Exit

from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.engine.run_options import RunOptions, extra_variables, split_words
from provision.ssh import worker_bundle
from provision.ssh.rig_sessions import sessions_of

if TYPE_CHECKING:
    from provision.downloads.sharing import Sharing
    from provision.engine.results import Recap


def play_file(
    context: FleetContext, flags: Flags, path: Path, verb: str, sharing: Sharing | None = None
) -> None:
    """Play a playbook file on the hosts of -H. Raises Exit with the worst status, if not 0."""
    recaps = play_on_hosts(context, flags, path, verb, sharing=sharing)
    if status := max(recap.exit_status for recap in recaps):
        raise Exit(code=status)


def play_on_hosts(
    context: FleetContext,
    flags: Flags,
    path: Path,
    verb: str,
    only: Collection[str] | None = None,
    sharing: Sharing | None = None,
    stream: TextIO | None = None,
) -> list[Recap]:
    """Play a playbook file on every host that -H names, or on `only` these; return their recaps.

    verb: the command that plays it, for the name of the log. sharing: files that the rigs get from
    this machine. stream: where the report is printed, in place of stdout.
    """
    inventory, hosts = context.fleet(flags)
    hosts = [host for host in hosts if only is None or host.name in only]
    if sharing is not None:
        hosts = [sharing.introduce(host) for host in hosts]
    options = RunOptions(
        check=flags.check,
        diff=flags.diff,
        tags=split_words(flags.tags),
        skip_tags=split_words(flags.skip_tags),
        extra=extra_variables(flags.e),
    )
    sessions = {host.name: sessions_of(host, context.config, flags.accept_new) for host in hosts}
    if sharing is not None:
        for host in hosts:
            sessions[host.name].on_connect = sharing.attach(host)
    try:
        # Connecting is mostly waiting: bundle, Jinja2 and rich are loaded meanwhile.
        for session in sessions.values():
            session.connect_early()
        worker_bundle.make_payload(exclusive=True)
        from provision.engine import playbook, runner

        return runner.run_plays(
            playbook.load(path),
            hosts,
            sessions,
            inventory,
            options,
            verb=verb,
            as_json=flags.json,
            verbose=flags.verbose,
            stream=stream,
        )
    finally:
        for session in sessions.values():
            session.close()
