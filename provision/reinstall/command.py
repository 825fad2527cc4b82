"""`fab reinstall`: another system on each rig that -H names, one after another."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from io import StringIO

from invoke.exceptions import Exit

from provision.backup import by_shell, transfer
from provision.backup import command as backup
from provision.cli.flags import Flags
from provision.cli.fleet import FleetContext
from provision.cli.plays import play_on_hosts
from provision.discovery.refusals import refuse_rental, refuse_workstation
from provision.discovery.survey import take_survey
from provision.errors import DeeprigError, ExitStatus, SourceError, describe
from provision.inventory.hosts import Host
from provision.output.redaction import Redactor, secrets_of
from provision.output.terminal import Terminal
from provision.paths import BACKUPS
from provision.reinstall import image as images
from provision.reinstall import show
from provision.reinstall.keys import list_own_keys
from provision.reinstall.one_rig import Reinstallation, ReinstallEnding, ReinstallOutcome
from provision.reinstall.rig import ReinstallRig
from provision.reinstall.systems import DEFAULT, find_system, list_sources
from provision.ssh.connection import RigConnection
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import RootShell
from provision.templating.host_variables import render_variable

TRIAL_MINUTES = 15
#: Minutes: a slow stick boots in three, and a check of its file system takes some more.
LEAST_MINUTES, MOST_MINUTES = 1, 120
#: Of each ending, the exit status.
STATUSES = {ReinstallEnding.REFUSED: ExitStatus.ERROR, ReinstallEnding.FELL_BACK: ExitStatus.ERROR}


@dataclass(frozen=True)
class ReinstallRequest:
    """What the command line asks for. system: a key of playbooks/vars/reinstall.yml, or ""."""

    system: str = ""
    undo: bool = False
    commit: bool = False
    again: bool = False
    accept_workstation: bool = False


def reinstall(context: FleetContext, flags: Flags, request: ReinstallRequest) -> None:
    """Reinstall each rig, or undo or commit it. Raises Exit, SourceError."""
    if request.undo and request.commit:
        raise SourceError("--undo and --commit exclude each other")
    _, hosts = context.fleet(flags)
    if request.system:
        find_system(request.system)  # refused before any rig is asked
    console, errors = Terminal(quiet=flags.json), Terminal(error=True)
    documents: dict[str, object] = {}
    worst: int = ExitStatus.OK
    for host in hosts:
        redactor = Redactor(secrets_of(host.variables))
        try:
            outcome = _reinstall_one(context, flags, host, request, errors)
        except DeeprigError as error:
            errors.print(redactor.text(describe(error, host.name)), style="red")
            documents[host.name] = {"error": error.message}
            worst = max(worst, error.status)
            break
        documents[host.name] = redactor.value(show.make_document(outcome))
        show.show_outcome(console, host.name, outcome, flags.check)
        status: int = STATUSES.get(outcome.ending, ExitStatus.OK)
        worst = max(worst, status)
        if status:
            break  # what went wrong on one rig is not tried on the next
    if flags.json:
        print(json.dumps({"hosts": documents}, indent=2))
    if worst:
        raise Exit(code=worst)


def _reinstall_one(
    context: FleetContext, flags: Flags, host: Host, request: ReinstallRequest, errors: Terminal
) -> ReinstallOutcome:
    password = sudo_password(host, context.config)

    def connect() -> RigConnection:
        return RigConnection(host, context.config, flags.accept_new)

    with closing(connect()) as connection:
        connection.open()
        user = str(connection.user)
        if not (request.undo or request.commit):
            with take_survey(connection, password) as look:
                refuse_rental(look)
                refuse_workstation(look, request.accept_workstation)
    system = find_system(
        request.system or str(render_variable(host, "reinstall_system") or DEFAULT)
    )
    mirror = str(render_variable(host, "reinstall_mirror") or "")
    with errors.status(host.name) as status:

        def announce(text: str) -> None:
            errors.print(f"{host.name}: {text}")
            status.update(f"{host.name}: {text}")

        work = Reinstallation(
            ReinstallRig(lambda: RootShell(connect(), password), user),
            list_own_keys(host, flags.i),
            announce,
            lambda text: status.update(f"{host.name}: {text}"),
            _trial_minutes(host) * 60,
        )
        if request.undo:
            return work.undo(flags.check)
        if request.commit:
            return work.commit(flags.check)
        if flags.check:
            return work.plan(system)
        return work.install(
            system,
            lambda: images.find_image(system, list_sources(system, mirror), announce),
            lambda: _keep_backup(context, flags, host, work.rig.open_shell, announce),
            request.again,
        )


def _keep_backup(
    context: FleetContext,
    flags: Flags,
    host: Host,
    open_shell: Callable[[], RootShell],
    announce: Callable[[str], None],
) -> None:
    """Make the rig's backup, where it has none yet, and keep a copy here. Raises DeeprigError.

    Without a Python that a playbook needs, the old system itself is what is kept, until --commit.
    """
    with closing(open_shell()) as shell:
        if not by_shell.has_usable_python(shell, host):
            announce("no backup without Python 3.8 or newer: the old system stays until --commit")
            return
    announce("a backup first")
    (recap,) = play_on_hosts(
        context, flags, backup.BACKUP, "reinstall", only={host.name}, stream=StringIO()
    )
    if recap.exit_status != ExitStatus.OK:
        raise DeeprigError(f"the backup failed: {recap.error}", advice="fab backup tells more.")
    with closing(open_shell()) as shell:
        there = transfer.ask_rig(shell)
        if there.usable:
            transfer.fetch(shell, there, BACKUPS / host.name, lambda text: None)


def _trial_minutes(host: Host) -> int:
    value = render_variable(host, "reinstall_trial_minutes") or TRIAL_MINUTES
    try:
        minutes = int(str(value))
    except ValueError:
        minutes = 0
    if not LEAST_MINUTES <= minutes <= MOST_MINUTES:
        raise SourceError(
            f"reinstall_trial_minutes is {value!r}, and not {LEAST_MINUTES} to {MOST_MINUTES}"
        )
    return minutes
