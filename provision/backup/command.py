"""`fab backup`, `fab restore` and `fab status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fabric import Config
from invoke.exceptions import Exit
from rich.console import Console

from provision.backup import by_shell, stored, transfer
from provision.backup.stored import StoredBackup
from provision.backup.transfer import FetchedCopy
from provision.cli.answers import show_answers
from provision.cli.plays import play_on_hosts
from provision.errors import DeeprigError, SourceError, shown_path
from provision.inventory.hosts import Host
from provision.output.tables import Grid
from provision.output.terminal import Terminal
from provision.paths import BACKUPS, PLAYBOOKS
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import run_on_hosts
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import RootShell

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext

LABEL = 12  # columns
BACKUP = PLAYBOOKS / "backup.yml"
RESTORE = PLAYBOOKS / "restore.yml"
Answer = TypeVar("Answer")
Work = Callable[[RootShell, Host], Answer]


def backup(context: FleetContext, flags: Flags) -> None:
    """Make the backup of each rig, where it has none yet, and keep a copy here."""
    wanted = replace(flags, e=(*flags.e, "backup_wanted=true"))
    recaps = play_on_hosts(context, wanted, BACKUP, "backup")
    worst: int = max(recap.exit_status for recap in recaps)
    made = {recap.host for recap in recaps if recap.exit_status == 0}
    if made and not flags.check:
        with Terminal(error=True).status("Copying") as status:

            def work(shell: RootShell, host: Host) -> FetchedCopy:
                there = transfer.ask_rig(shell)
                return transfer.fetch(
                    shell,
                    there,
                    BACKUPS / host.name,
                    lambda text: status.update(f"{host.name}: {text}"),
                )

            copies = _run_on_each(context, flags, work, made)
        console = Terminal(quiet=flags.json)
        worst = max(
            worst, show_answers(copies, lambda host, copy: console.print(describe_copy(host, copy)))
        )
    if worst:
        raise Exit(code=worst)


def describe_copy(host: str, fetched_copy: FetchedCopy) -> str:
    """Return what `fab backup` prints about one rig's copy."""
    lines = [
        f"{host}: {shown_path(fetched_copy.copy.where)}, {fetched_copy.copy.size / 1e6:.1f} MB"
    ]
    if fetched_copy.older:
        where = shown_path(str(fetched_copy.older))
        lines.append(f"  the copy that was there differs, and is in {where} now")
    return "\n".join(lines)


def restore(context: FleetContext, flags: Flags, source: str) -> None:
    """Bring back what provisioning removed or edited, from the rig's backup or from `source`."""
    if not source:
        _restore_from(context, flags)
        return
    _, hosts = context.fleet(flags)
    if len(hosts) > 1:
        raise SourceError(f"--source is of one rig, and -H names {len(hosts)}")
    folder = Path(source)
    if not folder.is_dir():
        raise SourceError(
            f"the folder {folder} does not exist", advice="fab status shows the copies."
        )
    transfer.read_whole(folder)  # before anything is sent
    if not flags.check:
        if old := _send(context, flags, folder, transfer.take):
            message = f"{hosts[0].name}: the backup that was there differs, and is in {old} now"
            Terminal(error=True).print(message)
        _restore_from(context, flags)
        return
    try:
        _send(context, flags, folder, lambda shell: "")
        _restore_from(context, flags, transfer.BESIDE)
    finally:
        _only_answer(_run_on_each(context, flags, lambda shell, host: transfer.remove(shell)))


def _restore_from(context: FleetContext, flags: Flags, folder: str = stored.FOLDER) -> None:
    """Restore each rig from a folder on it. Raises Exit with the worst status, if not 0.

    A rig whose Python can't run the playbook is restored by its shell alone.
    """
    usable = _run_on_each(
        context, flags, lambda shell, host: by_shell.has_usable_python(shell, host)
    )
    # What can't be reached is reported by the play.
    played = {name for name, answer in usable.items() if answer is not False}
    rest = usable.keys() - played
    worst = 0
    document: dict[str, Any] = {"hosts": {}}
    if played:
        given = flags
        if folder != stored.FOLDER:
            given = replace(flags, e=(*flags.e, f"backup_folder={folder}"))
        # Its document is printed together with those of the other rigs.
        printed = StringIO() if flags.json else None
        recaps = play_on_hosts(context, given, RESTORE, "restore", played, stream=printed)
        if printed is not None:
            document = json.loads(printed.getvalue())
        worst = max(recap.exit_status for recap in recaps)
    if rest:
        restored = _run_on_each(
            context, flags, lambda shell, host: by_shell.restore(shell, folder, flags.check), rest
        )
        document["hosts"].update(
            (name, {"error": done.message} if isinstance(done, DeeprigError) else done.document())
            for name, done in restored.items()
        )
        console = Terminal(quiet=flags.json)

        def show_one(host: str, done: by_shell.ShellRestore) -> None:
            console.print(host, style="bold")
            for line in done.lines:
                console.print(f"  {line}")

        statuses = [
            done.exit_status for done in restored.values() if not isinstance(done, DeeprigError)
        ]
        worst = max([worst, show_answers(restored, show_one), *statuses])
    if flags.json:
        print(json.dumps(document, indent=2))
    if worst:
        raise Exit(code=worst)


def _send(
    context: FleetContext, flags: Flags, folder: Path, then: Callable[[RootShell], str]
) -> str:
    """Send a backup to the only host; return what `then` returns. Raises DeeprigError."""
    with Terminal(error=True).status("Copying") as status:

        def work(shell: RootShell, host: Host) -> str:
            transfer.send(shell, folder, lambda text: status.update(f"{host.name}: {text}"))
            return then(shell)

        return _only_answer(_run_on_each(context, flags, work))


def status(context: FleetContext, flags: Flags) -> None:
    """Show each rig's backups, there and here."""
    backups = _run_on_each(context, flags, lambda shell, host: transfer.ask_rig(shell))
    copies = {name: stored.read_local(BACKUPS / name) for name in backups}
    older = {name: stored.find_older(BACKUPS / name) for name in backups}
    if flags.json:
        print(
            json.dumps(
                {
                    name: {
                        "rig": rig_backup.document(),
                        "here": copies[name].document(),
                        "older": [copy.document() for copy in older[name]],
                    }
                    for name, rig_backup in backups.items()
                    if not isinstance(rig_backup, DeeprigError)
                },
                indent=2,
            )
        )
    console = Terminal(quiet=flags.json)

    def show_one(host: str, stored_backup: StoredBackup) -> None:
        print_status(console, host, stored_backup, copies[host], older[host])

    if worst := show_answers(backups, show_one):
        raise Exit(code=worst)


def print_status(
    console: Console,
    host: str,
    there: StoredBackup,
    copy: StoredBackup,
    older: Sequence[StoredBackup] = (),
) -> None:
    """Print one rig's backups, on the rig and here, and the next step."""
    console.print(host, style="bold")
    grid = Grid(console, LABEL)
    grid.add_row("on the rig", _line(there))
    for path in there.older:
        grid.add_row("there, older", path)
    grid.add_row("here", _line(copy))
    for backup in older:
        grid.add_row("here, older", _line(backup))
    if there.aside:
        grid.add_row("put aside", f"{there.aside} files, on the rig only, for fab restore")
    grid.print()
    if there.state == "none":
        console.print("  fab provision makes one before it first changes a rig")
    elif copy.state == "none":
        console.print(f"  fab backup -H {host} keeps a copy here")


def _line(backup: StoredBackup) -> str:
    if backup.state == "none" or backup.made is None:
        return "none"
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(backup.made))
    bad = f": {', '.join(backup.bad)}" if backup.bad else ""
    size = f"{backup.size / 1e6:.1f} MB"
    return f"{shown_path(backup.where)}, {size}, {made}, {backup.state}{bad}"


def _run_on_each(
    context: FleetContext, flags: Flags, work: Work[Answer], only: Collection[str] | None = None
) -> dict[str, Answer | DeeprigError]:
    """Do it on every host that -H names, or on `only` these of them."""
    _, hosts = context.fleet(flags)

    def work_on(host: Host) -> Answer:
        return _run_on_host(host, context.config, flags.accept_new, work)

    return run_on_hosts([host for host in hosts if only is None or host.name in only], work_on)


def _only_answer(answers: Mapping[str, Answer | DeeprigError]) -> Answer:
    """Return the answer of the only host. Raises its error."""
    (answer,) = answers.values()
    if isinstance(answer, DeeprigError):
        raise answer
    return answer


def _run_on_host(host: Host, config: Config, accept_new: bool, work: Work[Answer]) -> Answer:
    shell = RootShell(RigConnection(host, config, accept_new), sudo_password(host, config))
    try:
        return work(shell, host)
    finally:
        shell.close()
