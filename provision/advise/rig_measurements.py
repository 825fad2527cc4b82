"""Read a rig's facts and its newest benchmark."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from fabric import Config

from provision.boundary.decode import check_type
from provision.boundary.documents import FoundFiles, SlurpedContent
from provision.boundary.text import clean_line
from provision.discovery.gather import read_facts, run_module
from provision.errors import DeeprigError
from provision.inventory.hosts import Host
from provision.performance import machine, measured
from provision.performance.machine import Machine
from provision.performance.measured import Measurements
from provision.ssh.fanout import run_on_hosts
from provision.ssh.rig_sessions import Sessions, sessions_of


def read_all(
    hosts: Sequence[Host], config: Config, accept_new: bool, p2p: bool
) -> dict[str, Machine | DeeprigError]:
    """Return each rig, or why it could not be read, by name."""
    return run_on_hosts(hosts, lambda host: read(host, config, accept_new, p2p))


def read(host: Host, config: Config, accept_new: bool, p2p: bool) -> Machine:
    """Return one rig. Raises DeeprigError."""
    sessions = sessions_of(host, config, accept_new, exclusive=False)
    try:
        facts = read_facts(sessions)["ansible_local"]["deeprig"]
        rig = machine.from_facts(host.name, facts, p2p)
        measurements = read_newest(sessions)
    finally:
        sessions.close()
    return machine.with_measured(rig, measurements) if measurements else rig


def read_newest(sessions: Sessions) -> Measurements | None:
    """Return the rig's newest benchmark; an unusable one becomes a note without measurements."""
    listed = run_module(sessions, "find", paths=[measured.FOLDER], patterns=["*.json"])
    if not listed.get("files"):
        return None
    files = check_type(listed, FoundFiles, "list of benchmarks")["files"]
    newest = max(files, key=lambda file: file["mtime"])
    path, when = newest["path"], newest["mtime"]
    result = run_module(sessions, "slurp", src=path)
    if result.get("failed"):
        return _without_figures(path, when, clean_line(str(result.get("msg"))))
    try:
        content = check_type(result, SlurpedContent, "benchmark")["content"]
        return measured.parse(base64.b64decode(content).decode(errors="replace"), path)
    except (DeeprigError, binascii.Error) as error:
        if isinstance(error, DeeprigError):
            return _without_figures(path, when, f"{error.message}. {error.advice}")
        return _without_figures(path, when, str(error))


def _without_figures(path: str, when: float, why: str) -> Measurements:
    return Measurements(path, 0, when, notes=(f"not used: {why}",))
