"""`fab backup`, `fab restore` and `fab status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fabric import Config
from invoke.exceptions import Exit

from provision.backup import stored, transfer
from provision.backup.stored import StoredBackup
from provision.backup.transfer import FetchedCopy
from provision.cli.answers import show_answers
from provision.cli.plays import play_file, play_on_hosts
from provision.errors import DeeprigError, SourceError, shown_path
from provision.inventory.hosts import Host
from provision.output.terminal import Terminal
from provision.paths import BACKUPS, PLAYBOOKS
from provision.ssh.connection import RigConnection
from provision.ssh.fanout import run_on_hosts
from provision.ssh.rig_sessions import sudo_password
from provision.ssh.shell import RootShell

if TYPE_CHECKING:
    from provision.cli.flags import Flags
    from provision.cli.fleet import FleetContext

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
                there = transfer.on_rig(shell)
                return transfer.fetch(
                    shell,
                    there,
                    BACKUPS / host.name,
                    lambda text: status.update(f"{host.name}: {text}"),
                )

            found = _each(context, flags, work, made)
        worst = max(worst, _show_results(found, flags, copied))
    if worst:
        raise Exit(code=worst)


def copied(host: str, one: FetchedCopy) -> str:
    """Return what `fab backup` prints about one rig's copy."""
    lines = [f"{host}: {shown_path(one.copy.where)}, {one.copy.size / 1e6:.1f} MB"]
    if one.older:
        where = shown_path(str(one.older))
        lines.append(f"  the copy that was there differs, and is in {where} now")
    return "\n".join(lines)


def restore(context: FleetContext, flags: Flags, source: str) -> None:
    """Bring back what provisioning removed or edited, from the rig's backup or from `source`."""
    if not source:
        play_file(context, flags, RESTORE, "restore")
        return
    _, hosts = context.fleet(flags)
    if len(hosts) > 1:
        raise SourceError(f"--source is of one rig, and -H names {len(hosts)}")
    folder = Path(source)
    if not folder.is_dir():
        raise SourceError(
            f"the folder {folder} does not exist", advice="fab status shows the copies."
        )
    transfer.whole(folder)  # before anything is sent
    if not flags.check:
        if old := _send(context, flags, folder, transfer.take):
            message = f"{hosts[0].name}: the backup that was there differs, and is in {old} now"
            Terminal(error=True).print(message)
        play_file(context, flags, RESTORE, "restore")
        return
    try:
        _send(context, flags, folder, lambda shell: "")
        beside = replace(flags, e=(*flags.e, f"backup_folder={transfer.BESIDE}"))
        play_file(context, beside, RESTORE, "restore")
    finally:
        _one(_each(context, flags, lambda shell, host: transfer.remove(shell)))


def _send(
    context: FleetContext, flags: Flags, folder: Path, then: Callable[[RootShell], str]
) -> str:
    """Send a backup to the only host; return what `then` returns. Raises DeeprigError."""
    with Terminal(error=True).status("Copying") as status:

        def work(shell: RootShell, host: Host) -> str:
            transfer.send(shell, folder, lambda text: status.update(f"{host.name}: {text}"))
            return then(shell)

        return _one(_each(context, flags, work))


def status(context: FleetContext, flags: Flags) -> None:
    """Show each rig's backups, there and here."""
    found = _each(context, flags, lambda shell, host: transfer.on_rig(shell))
    copies = {name: stored.here(BACKUPS / name) for name in found}
    older = {name: stored.older(BACKUPS / name) for name in found}
    if flags.json:
        print(
            json.dumps(
                {
                    name: {
                        "rig": one.document(),
                        "here": copies[name].document(),
                        "older": [copy.document() for copy in older[name]],
                    }
                    for name, one in found.items()
                    if not isinstance(one, DeeprigError)
                },
                indent=2,
            )
        )
    if worst := _show_results(
        found,
        flags,
        lambda host, one: "\n".join(status_lines(host, one, copies[host], older[host])),
    ):
        raise Exit(code=worst)


def status_lines(
    host: str, there: StoredBackup, copy: StoredBackup, older: Sequence[StoredBackup] = ()
) -> list[str]:
    """Return what `fab status` prints about one rig's backups."""
    lines = [host, f"  on the rig  {_line(there)}"]
    lines += [f"  there, older {one}" for one in there.older]
    lines += [f"  here        {_line(copy)}"]
    lines += [f"  here, older {_line(one)}" for one in older]
    if there.aside:
        lines.append(f"  put aside   {there.aside} files, on the rig only, for fab restore")
    if there.state == "none":
        lines.append("  fab provision makes one before it first changes a rig")
    elif copy.state == "none":
        lines.append(f"  fab backup -H {host} keeps a copy here")
    return lines


def _line(one: StoredBackup) -> str:
    if one.state == "none" or one.made is None:
        return "none"
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.made))
    bad = f": {', '.join(one.bad)}" if one.bad else ""
    return f"{shown_path(one.where)}, {one.size / 1e6:.1f} MB, {made}, {one.state}{bad}"


def _each(
    context: FleetContext, flags: Flags, work: Work[Answer], only: Collection[str] | None = None
) -> dict[str, Answer | DeeprigError]:
    """Do it on every host that -H names, or on `only` these of them."""
    _, hosts = context.fleet(flags)

    def one(host: Host) -> Answer:
        return _over(host, context.config, flags.accept_new, work)

    return run_on_hosts([host for host in hosts if only is None or host.name in only], one)


def _one(found: Mapping[str, Answer | DeeprigError]) -> Answer:
    """What came of the only host. Raises its error."""
    (one,) = found.values()
    if isinstance(one, DeeprigError):
        raise one
    return one


def _over(host: Host, config: Config, accept_new: bool, work: Work[Answer]) -> Answer:
    shell = RootShell(RigConnection(host, config, accept_new), sudo_password(host, config))
    try:
        return work(shell, host)
    finally:
        shell.close()


def _show_results(
    found: Mapping[str, Answer | DeeprigError], flags: Flags, say: Callable[[str, Answer], str]
) -> int:
    """Print each rig's, its errors apart; the worst status of them."""
    console = Terminal()

    def show_one(host: str, one: Answer) -> None:
        if not flags.json:
            console.print(say(host, one))

    return show_answers(found, show_one)
