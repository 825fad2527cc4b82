"""The files of a run: a store on this machine, a handout for each rig (`fab provision --cache`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paramiko

from provision.downloads.handout import Handout
from provision.downloads.sources import sources_of
from provision.downloads.store import Store
from provision.inventory.hosts import Host
from provision.paths import cache_folder
from provision.ssh.connection import RigConnection
from provision.ssh.transport import Transport

#: Of the rig's loopback; above what services use, below the ports that kernels give away.
PORTS = range(20000, 32000)


def default_folder() -> Path:
    """Return the folder of the files, in this user's cache."""
    return cache_folder() / "downloads"


class Sharing:
    """The files of one run, for several rigs."""

    def __init__(self, folder: Path | None = None) -> None:
        self.store = Store(folder or default_folder())
        self.handouts: dict[str, Handout] = {}
        self.refusals: dict[str, str] = {}
        self._ports: dict[str, int] = {}

    def introduce(self, host: Host) -> Host:
        """Return a host with the variables by which its rig finds the files.

        Raises DeeprigError.
        """
        handout = Handout(self.store, sources_of(host), secrets.token_urlsafe(24))
        # Containers of one machine may share a loopback: each rig has another port.
        port = secrets.choice([port for port in PORTS if port not in self._ports.values()])
        self.handouts[host.name], self._ports[host.name] = handout, port
        variables = {"download_cache_port": port, "download_cache_token": handout.token}
        return replace(host, variables={**host.variables, **variables})

    def attach(self, host: Host) -> Callable[[Transport], None]:
        """Return what makes the files reachable through a new connection to the rig."""

        def forward(connection: Transport) -> None:
            assert isinstance(connection, RigConnection)
            connection.open()
            try:
                connection.transport.request_port_forward(
                    "127.0.0.1", self._ports[host.name], self.handouts[host.name].accept
                )
            except (paramiko.SSHException, EOFError, OSError) as error:
                self.refusals[host.name] = str(error) or type(error).__name__

        return forward

    def summarize(self) -> list[str]:
        """Return the last words of a run, a line each."""
        sent = sum(handout.sent for handout in self.handouts.values())
        takers = sum(handout.sent > 0 for handout in self.handouts.values())
        lines = [
            f"cache: {_gigabytes(self.store.fetched)} fetched, {_gigabytes(sent)} handed to "
            f"{takers} of {len(self.handouts)} rigs; the files stay in {self.store.folder} (delete "
            "that folder whenever you like)"
        ]
        lines += [
            f"cache: {name} refuses to forward a port ({why}), and fetches by itself: see "
            "AllowTcpForwarding in its sshd_config"
            for name, why in self.refusals.items()
        ]
        for name, handout in self.handouts.items():
            if handout.refused:
                count = len(set(handout.refused))
                lines.append(f"cache: {name} fetches {count} files by itself: {handout.refused[0]}")
        return lines

    def close(self) -> None:
        """Delete what the folder has too much of."""
        self.store.prune()


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
