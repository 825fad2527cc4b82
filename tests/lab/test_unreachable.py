"""The rig is unreachable: the error names reason and fix, and the rig does not change."""

from __future__ import annotations

import os
import pty
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from lab.simulate import faults
from provision.ssh.connection import CONNECT_TIMEOUT
from tests.lab.operator import ROOT, FabResult, command, fab, write_playbook, write_variant

NAME = "test5"
MARK: dict[str, Any] = {
    "name": "Leave a mark",
    "ansible.builtin.copy": {"dest": "/root/mark", "content": "here", "mode": "0600"},
}


@pytest.fixture
def mark(target: Rig, tmp_path: Path) -> Iterator[Path]:
    """A playbook that writes a file on the rig; the file must not exist afterwards."""
    yield write_playbook(tmp_path, MARK)
    assert not (target.root / "root/mark").exists()


def assert_unreachable(result: FabResult, *parts: str) -> None:
    assert result.status == 4, result.text
    result.assert_shows("unreachable=1", f"host: {NAME}", *parts)


def fingerprint(key: Path) -> str:
    shown = subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True)
    return shown.stdout.split()[1]


def own_fingerprint(target: Rig) -> str:
    return fingerprint(target.root / "etc/ssh/ssh_host_ed25519_key.pub")


def test_host_that_is_not_in_the_inventory_is_refused(inventory: Path, mark: Path) -> None:
    result = fab(inventory, "tset5", "play", mark)
    assert result.status == 2
    result.assert_shows(
        f"unknown host 'tset5'; did you mean '{NAME}'?", "The inventory knows: test5."
    )


def test_refused_connection_is_reported(inventory: Path, mark: Path) -> None:
    result = fab(write_variant(inventory, NAME, ansible_port=9), NAME, "play", mark)
    assert_unreachable(result, ":9: connection refused", "Is the rig on")
    assert result.seconds < CONNECT_TIMEOUT / 2


def test_unresolvable_name_is_reported(inventory: Path, mark: Path) -> None:
    file = write_variant(inventory, NAME, ansible_host="no-such-rig.invalid")
    assert_unreachable(fab(file, NAME, "play", mark), "'no-such-rig.invalid' can't be resolved")


def test_silent_peer_times_out(inventory: Path, target: Rig, mark: Path) -> None:
    with socket.create_server((target.address, 2222)):
        file = write_variant(inventory, NAME, ansible_port=2222, ansible_timeout=2)
        result = fab(file, NAME, "play", mark)
    assert_unreachable(
        result, ":2222: it takes the connection, but does not answer as an SSH server does"
    )
    assert 2 <= result.seconds < 2 + 5


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_peer_without_ssh_is_reported(
    inventory: Path, target: Rig, mark: Path, answer: bytes
) -> None:
    def serve(listening: socket.socket) -> None:
        peer, _ = listening.accept()
        with peer:
            peer.sendall(answer)

    with socket.create_server((target.address, 2222)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        result = fab(write_variant(inventory, NAME, ansible_port=2222), NAME, "play", mark)
    assert_unreachable(
        result, ":2222: it takes the connection, but does not answer as an SSH server does"
    )
    assert result.stderr == ""


def test_wrong_login_password_is_reported(inventory: Path, mark: Path) -> None:
    file = write_variant(inventory, NAME, ansible_password="hunter2hunter2")
    result = fab(file, NAME, "play", mark)
    assert_unreachable(result, "the password was not accepted for user 'user'", "ansible_password")
    assert "hunter2" not in result.text


def test_python_of_an_old_system_is_reported(inventory: Path, target: Rig, mark: Path) -> None:
    """Ubuntu 18.04 has Python 3.6."""
    pretend = "import sys; sys.version_info = (3, 6, 9); sys.version = '3.6.9 old'"
    script = f'#!/bin/sh\nexec python3 -c "{pretend}; exec(sys.argv[3])" "$@"\n'
    program = target.root / "usr/local/bin/python-old"
    program.write_text(script)
    program.chmod(0o755)
    file = write_variant(inventory, NAME, ansible_python_interpreter="/usr/local/bin/python-old")
    assert_unreachable(
        fab(file, NAME, "play", mark),
        "the Python of this rig is 3.6.9 (it runs Debian GNU/Linux 12 (bookworm))",
        "deeprig needs 3.8 or newer",
        "Install Debian 12 or Ubuntu 24.04",
    )


def test_wrong_sudo_password_is_reported(inventory: Path, mark: Path) -> None:
    file = write_variant(inventory, NAME, ansible_become_password="hunter2hunter2")
    result = fab(file, NAME, "play", mark)
    assert_unreachable(
        result, "sudo did not accept the password of 'user'", "ansible_become_password"
    )
    assert "hunter2" not in result.text


def test_missing_python_is_reported(inventory: Path, mark: Path) -> None:
    file = write_variant(inventory, NAME, ansible_python_interpreter="/usr/bin/python9")
    assert_unreachable(
        fab(file, NAME, "play", mark),
        "Python (/usr/bin/python9) is not installed on this rig",
        "apt install python3",
        "ansible_python_interpreter",
    )


def test_python_that_only_root_may_run_is_reported(
    inventory: Path, target: Rig, tmp_path: Path
) -> None:
    play = write_playbook(tmp_path, MARK, become=False)
    faults.switch(target, "no-python", on=True)
    try:
        assert_unreachable(
            fab(inventory, NAME, "play", play), "'user' may not run Python (python3)"
        )
    finally:
        faults.switch(target, "no-python", on=False)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_changed_host_key_is_refused(
    inventory: Path, target: Rig, mark: Path, tmp_path: Path, kind: str
) -> None:
    other, known_hosts = tmp_path / "key", tmp_path / "known"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", other], check=True)
    line = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    known_hosts.write_text(f"{target.address} {line}\n")
    file = write_variant(inventory, NAME, ansible_ssh_known_hosts_file=str(known_hosts))
    logins = target.run("journalctl -u ssh -o cat | grep -c Accepted", check=False).stdout
    shown = fingerprint(target.root / f"etc/ssh/ssh_host_{kind}_key.pub")
    for flags in ([], ["--accept-new"]):
        result = fab(file, NAME, "play", mark, *flags)
        assert_unreachable(
            result, "has CHANGED", shown, fingerprint(other), f"ssh-keygen -R '{target.address}'"
        )
    assert known_hosts.read_text() == f"{target.address} {line}\n"
    after = target.run("journalctl -u ssh -o cat | grep -c Accepted", check=False).stdout
    assert after == logins  # the password was not even offered


class TestUnknownKey:
    @pytest.fixture
    def known_hosts(self, tmp_path: Path) -> Path:
        return tmp_path / "ssh/known_hosts"

    @pytest.fixture
    def without_known_key(self, inventory: Path, known_hosts: Path) -> Path:
        return write_variant(inventory, NAME, ansible_ssh_known_hosts_file=str(known_hosts))

    def test_unknown_key_is_refused_without_a_terminal(
        self, without_known_key: Path, target: Rig, mark: Path, known_hosts: Path
    ) -> None:
        result = fab(without_known_key, NAME, "play", mark)
        assert_unreachable(
            result, "is not known: ssh-ed25519", own_fingerprint(target), "--accept-new"
        )
        assert not known_hosts.exists()

    def test_unknown_key_is_stored_with_accept_new(
        self, without_known_key: Path, target: Rig, known_hosts: Path
    ) -> None:
        facts = ROOT / "playbooks/facts.yml"
        assert fab(without_known_key, NAME, "play", facts, "--accept-new").status == 0
        assert known_hosts.read_text().strip() in target.host_keys()
        assert fab(without_known_key, NAME, "play", facts).status == 0

    def test_unknown_key_prompts_at_a_terminal(
        self, without_known_key: Path, target: Rig, mark: Path, known_hosts: Path
    ) -> None:
        status, seen = run_at_terminal(command(without_known_key, NAME, "play", str(mark)), "n\n")
        assert status == 4, seen
        assert own_fingerprint(target) in seen
        assert not known_hosts.exists()
        facts = str(ROOT / "playbooks/facts.yml")
        status, seen = run_at_terminal(command(without_known_key, NAME, "play", facts), "y\n")
        assert status == 0, seen
        assert known_hosts.read_text().strip() in target.host_keys()

    def test_interrupt_at_the_prompt_refuses_the_key(
        self, without_known_key: Path, mark: Path, known_hosts: Path
    ) -> None:
        status, seen = run_at_terminal(command(without_known_key, NAME, "play", str(mark)), "\x03")
        assert status == 130, seen
        assert "Traceback" not in seen
        assert not known_hosts.exists()


def run_at_terminal(words: list[str], answer: str, seconds: float = 15) -> tuple[int, str]:
    """Run a command at a terminal, answer its question; return exit status and output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(words[0], words)
    seen, answered, deadline = "", False, time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                seen += os.read(terminal, 65536).decode()
            except OSError:  # the terminal is closed: it has ended
                break
            if "[y/N]" in seen and not answered:
                answered = True
                os.write(terminal, answer.encode())
        else:
            os.kill(pid, 9)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert answered, seen
    return os.waitstatus_to_exitcode(status), seen
