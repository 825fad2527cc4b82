"""What a rig says of itself: its facts, and its newest benchmark."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from fabric import Config

from provision import hostwise, rigfacts
from provision.advise import machine, measured
from provision.advise.machine import Machine
from provision.advise.measured import Measured
from provision.errors import DeeprigError
from provision.inventory import Host
from provision.sessions import Sessions, sessions_of


def read_all(
    hosts: Sequence[Host], config: Config, accept_new: bool, p2p: bool
) -> dict[str, Machine | DeeprigError]:
    """Each rig, or why it could not be read, by name."""
    return hostwise.each(hosts, lambda host: read(host, config, accept_new, p2p))


def read(host: Host, config: Config, accept_new: bool, p2p: bool) -> Machine:
    """One rig. Raises DeeprigError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    try:
        rig = machine.from_facts(host.name, rigfacts.read(sessions), p2p)
        found = newest(sessions)
    finally:
        sessions.close()
    return machine.with_measured(rig, found) if found else rig


def newest(sessions: Sessions) -> Measured | None:
    """The rig's newest benchmark. One that can't be used is a note, and nothing is measured."""
    listed = rigfacts.ask(sessions, "find", paths=[measured.FOLDER], patterns=["*.json"])
    files = sorted(listed.get("files", ()), key=lambda file: float(file["mtime"]))
    if not files:
        return None
    path = str(files[-1]["path"])
    result = rigfacts.ask(sessions, "slurp", src=path)
    if result.get("failed"):
        return _unused(path, float(files[-1]["mtime"]), str(result.get("msg")))
    try:
        return measured.parse(base64.b64decode(result["content"]).decode(errors="replace"), path)
    except DeeprigError as error:
        said = f"{error.message}. {error.advice}"
        return _unused(path, float(files[-1]["mtime"]), said)


def _unused(path: str, when: float, why: str) -> Measured:
    return Measured(path, 0, when, notes=(f"not used: {why}",))
