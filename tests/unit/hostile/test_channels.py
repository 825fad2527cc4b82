"""A channel that the rig refuses: sshd limits sessions, and counts those that have just ended."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provision.errors import UnreachableError
from provision.inventory.hosts import Host
from provision.ssh import connection
from provision.ssh.connection import RigConnection
from provision.ssh.shell import Shell
from tests.unit.hostile.ssh_server import SshServer, ssh_server


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with ssh_server(b"in\n") as made:
        yield made


@pytest.fixture
def shell(server: SshServer) -> Iterator[Shell]:
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": server.port,
        "ansible_user": "user",
        "ansible_password": "hunter22",
    }
    made = Shell(RigConnection(Host("attic", variables, ()), accept_new=True))
    yield made
    made.close()


def test_refused_channel_is_requested_again(server: SshServer, shell: Shell) -> None:
    server.seen.refusals = 3
    assert shell.run("true").out == b"in\n"
    assert server.seen.logins == 1


def test_channels_refused_at_the_same_time_are_requested_again(
    server: SshServer, shell: Shell
) -> None:
    shell.run("true")
    server.seen.refusals = 12
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(shell.run, ["true"] * 8))
    assert [result.out for result in results] == [b"in\n"] * 8


def test_rig_that_refuses_every_channel_is_reported_as_unreachable(
    server: SshServer, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CHANNEL_TIMEOUT", 0.3)
    server.seen.refusals = 10**6
    with pytest.raises(UnreachableError, match="accepted the login but did not start") as error:
        shell.run("true")
    assert "MaxSessions" in error.value.advice
