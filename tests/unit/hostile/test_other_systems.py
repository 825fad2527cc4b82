"""Hosts that deeprig can't work on: they are named as such, and never taken for an empty rig."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from provision.errors import OtherSystemError
from provision.inventory.hosts import Host
from provision.ssh import worker_bundle
from provision.ssh.connection import RigConnection, find_other_system
from tests.unit.hostile.ssh_server import SshServer, ssh_server

OLD_VERSION = "3.6.9 (default, of a system of 2018)"
#: Makes a Python pretend to be that one: a developer's machine has only a new one.
PRETEND = f"import sys; sys.version_info = (3, 6, 9); sys.version = {OLD_VERSION!r}"


def connect_to(server: SshServer) -> RigConnection:
    variables = {
        "ansible_host": "127.0.0.1",
        "ansible_port": server.port,
        "ansible_user": "user",
        "ansible_password": "hunter22",
    }
    return RigConnection(Host("attic", variables, ()), accept_new=True)


@pytest.mark.parametrize(
    ("banner", "system"),
    [
        ("SSH-2.0-OpenSSH_for_Windows_9.5", "Windows"),
        ("SSH-2.0-OpenSSH_for_Windows_7.7 Win10", "Windows"),
        ("SSH-2.0-9.99 FlowSsh: Bitvise SSH Server (WinSSHD) 9.99", "Windows"),
        ("SSH-2.0-ROSSSH", "RouterOS"),
        ("SSH-2.0-Cisco-1.25", "a Cisco system"),
    ],
)
def test_other_system_is_named_by_its_banner(
    banner: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with ssh_server(banner=banner) as server:
        connection = connect_to(server)
        with pytest.raises(OtherSystemError, match=f"attic runs {system}, not Linux"):
            connection.open()
        assert not connection.is_connected
        assert server.seen.commands == []


@pytest.mark.parametrize(
    "banner",
    [
        "SSH-2.0-OpenSSH_7.6p1 Ubuntu-4ubuntu0.7",
        "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3",
        "SSH-2.0-dropbear_2019.78",
        "SSH-1.99-OpenSSH_5.3",
    ],
)
def test_servers_of_linux_are_accepted(banner: str) -> None:
    assert find_other_system("attic", banner) is None


def test_banner_is_shown_without_control_characters() -> None:
    error = find_other_system("attic", "SSH-2.0-OpenSSH_for_Windows\x1b[2J")
    assert error is not None
    assert "\x1b" not in error.message


def start_worker(interpreter: list[str], code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the worker's first lines, with an empty input."""
    (*_, starter) = worker_bundle.starting_command().split('-IS -c "')
    program = f"{code}\n{starter[:-1]}"
    return subprocess.run(
        [*interpreter, "-IS", "-c", program], input="", capture_output=True, text=True, check=False
    )


def test_first_lines_parse_under_every_python_3() -> None:
    (*_, starter) = worker_bundle.starting_command().split('-IS -c "')
    ast.parse(starter[:-1], feature_version=(3, 4))
    assert "f'" not in starter


def test_old_python_reports_its_version() -> None:
    done = start_worker([sys.executable], PRETEND)
    assert done.returncode == 1
    assert done.stderr == f"{worker_bundle.OLD_PYTHON} 3.6.9\n"
    assert done.stdout == ""
