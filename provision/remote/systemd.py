"""systemd's units: the state of every unit that the batch names, read by one `systemctl show`."""

from __future__ import annotations

import re
from typing import Any, Dict

from provision.remote.host import ModuleFailure, ModuleHost

Unit = Dict[str, str]

PROPERTIES = (
    "Id",
    "Names",
    "LoadState",
    "LoadError",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "UnitFilePreset",
    "FragmentPath",
    "DropInPaths",
    "Description",
    "Type",
    "MainPID",
    "Result",
    "ExecMainStatus",
    "ExecMainStartTimestamp",
    "NRestarts",
    "NeedDaemonReload",
    "Restart",
    "CanReload",
)
MODULES = ("systemd_service", "systemd", "service")
SUFFIXES = (
    *(".service", ".socket", ".device", ".mount", ".automount", ".swap"),
    *(".target", ".path", ".timer", ".slice", ".scope"),
)


def unit_name(name: str) -> str:
    """Return the full name of a unit: a bare `cron` is `cron.service`."""
    return name if name.endswith(SUFFIXES) else f"{name}.service"


def read_unit(host: ModuleHost, name: str) -> Unit:
    """Return a unit's properties; LoadState is `not-found` for a unit that does not exist."""
    name = unit_name(name)
    units = host.state(_units)
    if name not in units:
        units.update(show(host, [name]))
    return units[name]


def forget_units(host: ModuleHost) -> None:
    """Forget all units: something was started, enabled, installed or reloaded."""
    host.invalidate(_units)


def forget_units_if_watched(host: ModuleHost, path: str) -> None:
    """Forget all units if `path`, which was changed, is where systemd looks."""
    if "/systemd/" in path or "/init.d/" in path:
        forget_units(host)


def systemctl(host: ModuleHost, words: list[str], doing: str) -> Any:
    """Run systemctl; raises ModuleFailure, with the unit's last words where it failed to start."""
    done = host.run(["systemctl", *words])
    forget_units(host)
    if done.rc == 0:
        return done
    detail = done.stderr.strip() or done.stdout.strip() or f"exit status {done.rc}"
    if words[0] in ("start", "restart", "reload") and "journalctl" in detail:
        status = host.run(
            ["systemctl", "status", "--no-pager", "--full", "--lines=20", words[-1]]
        ).stdout
        detail += f"\n{status.strip()}"
    raise ModuleFailure(
        f"{doing} failed: {detail}",
        rc=done.rc,
        stdout=done.stdout,
        stderr=done.stderr,
        cmd=["systemctl", *words],
    )


def show(host: ModuleHost, names: list[str]) -> dict[str, Unit]:
    """Return the properties of units, by the names that were asked for."""
    if not names:
        return {}
    words = ["systemctl", "show", "--no-pager", f"--property={','.join(PROPERTIES)}", "--"]
    done = host.run([*words, *names])
    blocks = [_parse(block) for block in re.split(r"\n\s*\n", done.stdout.strip())]
    if not any("LoadState" in block for block in blocks):
        raise ModuleFailure(
            "systemd does not answer: "
            + (done.stderr.strip() or done.stdout.strip() or f"exit status {done.rc}"),
            rc=done.rc,
            stderr=done.stderr,
        )
    if len(blocks) != len(names):  # a name that systemctl itself refuses: ask one by one
        if len(names) == 1:
            raise ModuleFailure(f"systemctl show gave nothing for {names[0]}: {done.stdout}")
        units = {}
        for name in names:
            units.update(show(host, [name]))
        return units
    return dict(zip(names, blocks))


def _units(host: ModuleHost) -> dict[str, Unit]:
    """Return every unit that the batch names, and could be a unit's name."""
    names = []
    for work in host.batch:
        if str(work.get("module", "")).rpartition(".")[2] not in MODULES:
            continue
        args = work.get("args") or {}
        name = args.get("name") or args.get("unit") or args.get("service")
        if isinstance(name, str) and re.fullmatch(r"[\w:.@\\-]+", name) and name[0] != "-":
            names.append(unit_name(name))
    try:
        return show(host, list(dict.fromkeys(names)))
    except ModuleFailure:
        return {}  # its task reports that


def _parse(block: str) -> Unit:
    properties = (line.partition("=") for line in block.splitlines() if "=" in line)
    return {name: value for name, _, value in properties}
