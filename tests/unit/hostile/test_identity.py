"""A rig is identified by its recorded host key, at every hop, never by what it reports."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import paramiko
import pytest
from fabric import Config
from paramiko.config import SSHConfig

from provision.adopt import records
from provision.boundary.facts import RigFacts
from provision.discovery.survey import Survey
from provision.errors import DeeprigError, UnreachableError
from provision.inventory import hosts as inventories
from provision.inventory import yaml_source
from provision.inventory.hosts import Host, Inventory
from provision.ssh.connection import RigConnection, StrictConnection
from provision.ssh.host_keys import format_host_key, parse_host_key
from provision.ssh.rig_sessions import Sessions, sessions_of
from provision.ssh.shell import Shell
from provision.templating.host_variables import render_variable
from tests.unit.hostile.ssh_server import SshServer, ssh_server

ROOT = Path(__file__).parents[3]
BOOT = "11111111-2222-3333-4444-555555555555"
MAC = "70:85:c2:5a:11:0e"


@pytest.fixture
def rig() -> Iterator[SshServer]:
    with ssh_server(f"{BOOT}\nrunning\n".encode()) as server:
        yield server


@pytest.fixture
def known_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    file = tmp_path / "known_hosts"
    file.touch()
    return file


def host(server: SshServer, known_hosts: Path, **variables: Any) -> Host:
    return Host(
        "attic",
        {
            "ansible_host": "127.0.0.1",
            "ansible_port": server.port,
            "ansible_user": "user",
            "ansible_password": "hunter22",
            "ansible_ssh_known_hosts_file": str(known_hosts),
            **variables,
        },
        (),
    )


def config(text: str = "") -> Config:
    """Fabric's configuration with this ssh_config."""
    return Config(ssh_config=SSHConfig.from_file(io.StringIO(text)))


def write_jump_config(jump: SshServer) -> Config:
    """Write an ssh_config with a jump host in front of the rig."""
    return config(f"Host 127.0.0.1\n  ProxyJump user@localhost:{jump.port}\n")


def other_key() -> str:
    return format_host_key(paramiko.ECDSAKey.generate())


def test_only_the_recorded_host_key_is_accepted(rig: SshServer, known_hosts: Path) -> None:
    known_hosts.write_text(rig.known_as())
    with RigConnection(host(rig, known_hosts, ssh_host_key=rig.line), config()) as connection:
        connection.open()
    passwords = len(rig.seen.passwords)
    wrong = RigConnection(host(rig, known_hosts, ssh_host_key=other_key()), config(), True)
    with pytest.raises(UnreachableError, match="is not 'attic'") as caught:
        wrong.open()
    wrong.close()
    assert "ssh_host_key" in caught.value.advice
    assert len(rig.seen.passwords) == passwords  # nothing was sent to it


def test_rig_with_a_new_address_is_recognised_by_its_key(rig: SshServer, known_hosts: Path) -> None:
    """It needs no prompt: the key proves its identity."""
    with RigConnection(host(rig, known_hosts, ssh_host_key=rig.line), config()) as connection:
        connection.open()
    assert rig.seen.passwords == ["hunter22"]


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "x y", "ssh-rsa !!!"])
def test_invalid_recorded_key_is_an_error(text: str) -> None:
    with pytest.raises(UnreachableError, match="ssh_host_key is not an SSH public key"):
        parse_host_key(text)


@pytest.mark.parametrize("recorded", [True, False])
def test_unknown_key_of_a_jump_host_is_refused(
    rig: SshServer, known_hosts: Path, recorded: bool
) -> None:
    with ssh_server() as jump:
        known_hosts.write_text(rig.known_as())
        target = host(rig, known_hosts, **({"ssh_host_key": rig.line} if recorded else {}))
        connection = RigConnection(target, write_jump_config(jump))
        with pytest.raises(UnreachableError, match=r"the host key of .*localhost.* is not known"):
            connection.open()
        connection.close()
        assert jump.seen.logins == rig.seen.logins == 0


def test_changed_key_of_a_jump_host_is_refused_with_accept_new(
    rig: SshServer, known_hosts: Path
) -> None:
    with ssh_server() as jump:
        known_hosts.write_text(f"[localhost]:{jump.port} {other_key()}\n{rig.known_as()}")
        connection = RigConnection(host(rig, known_hosts), write_jump_config(jump), accept_new=True)
        with pytest.raises(UnreachableError, match="has CHANGED"):
            connection.open()
        connection.close()
        assert jump.seen.logins == rig.seen.logins == 0


def test_jump_host_never_receives_the_password_of_the_rig(
    rig: SshServer, known_hosts: Path
) -> None:
    with ssh_server() as jump:
        known_hosts.write_text(rig.known_as() + jump.known_as("localhost"))
        connection = RigConnection(host(rig, known_hosts), write_jump_config(jump))
        with pytest.raises(UnreachableError):  # it takes passwords only, and gets none
            connection.open()
        connection.close()
        assert jump.seen.passwords == []


def test_rig_is_reachable_through_a_jump_host(rig: SshServer, known_hosts: Path) -> None:
    with ssh_server(b"in\n") as jump:
        known_hosts.write_text(rig.known_as() + jump.known_as("localhost"))
        connection = RigConnection(host(rig, known_hosts), write_jump_config(jump))
        gateway = cast(StrictConnection, connection.gateway)
        gateway.connect_kwargs = {"password": "jumps-own", "look_for_keys": False}
        try:
            assert Shell(connection).run("true").status == 0
        finally:
            connection.close()
        assert jump.seen.passwords == ["jumps-own"]
        assert rig.seen.passwords == ["hunter22"]


def test_ssh_agent_is_never_forwarded(
    rig: SshServer, known_hosts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling after a reboot forwarded it if ssh_config requested that."""
    known_hosts.write_text(rig.known_as())
    for text in ("Host *\n  ForwardAgent yes\n", "Host *\n  ForwardAgent /tmp/agent\n"):
        sessions = sessions_of(host(rig, known_hosts), config(text))
        assert sessions.boot(5.0) == (BOOT, "running")
        connection = RigConnection(host(rig, known_hosts), config(text))
        with connection:
            connection.run("true", hide=True, in_stream=False)
    assert rig.seen.agents == 0


@pytest.mark.parametrize(
    "answer", [b"", b"{{ x }} running\n", b"x" * 1_000_000, b"a b c d\n", b"\xff\n"]
)
def test_malformed_boot_id_is_an_error(answer: bytes, known_hosts: Path) -> None:
    with ssh_server(answer) as server:
        known_hosts.write_text(server.known_as())
        sessions: Sessions = sessions_of(host(server, known_hosts), config())
        with pytest.raises(DeeprigError):
            sessions.boot(5.0)


# -- what adopt writes and knows


class Tree:
    """The part of a snapshot that adopt reads."""

    def line(self, path: str) -> str:
        return "attic"


def look(**network: Any) -> Survey:
    interfaces = [{"name": "eth0", "mac": MAC, "addresses": [], **network}]
    facts = cast(RigFacts, {"network": {"interfaces": interfaces}})
    return Survey("x", facts, {}, cast(Any, Tree()), True)


@pytest.fixture
def inventory(tmp_path: Path, known_hosts: Path) -> Inventory:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "rigs.yml").write_text(
        "rigs:\n  hosts:\n    cellar:\n      ansible_host: 192.0.2.7\n"
        f"      mac_addresses: {{eth0: '{MAC}'}}\n"
        f"      ssh_host_key: {other_key()}\n      ansible_become_password: cellars\n"
    )
    return inventories.read_inventory(folder)


def test_mac_address_does_not_identify_a_rig(inventory: Inventory) -> None:
    """Otherwise the rig would get the other rig's sudo password and entry."""
    stranger = Host("192.0.2.66", {"ansible_host": "192.0.2.66"}, ())
    assert records.find_known_host(inventory, stranger, other_key()) is None
    assert records.find_same_mac_address(inventory, look()) == "cellar"
    key = str(inventory.host("cellar").variables["ssh_host_key"])
    known_host = records.find_known_host(inventory, stranger, key)
    assert known_host is not None
    assert known_host.name == "cellar"


def test_entry_without_a_key_is_recognised_by_known_hosts(
    tmp_path: Path, known_hosts: Path
) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "rigs.yml").write_text(
        "rigs:\n  hosts:\n    cellar:\n      ansible_host: 192.0.2.7\n"
        f"      ansible_ssh_known_hosts_file: {known_hosts}\n"
    )
    key = other_key()
    known_hosts.write_text(f"192.0.2.7 {key}\n")
    stranger = Host("192.0.2.66", {"ansible_host": "192.0.2.66"}, ())
    loaded = inventories.read_inventory(folder)
    assert records.find_known_host(loaded, stranger, other_key()) is None
    assert records.find_known_host(loaded, stranger, key) is not None


def test_stored_password_is_used_only_with_its_host_key(inventory: Inventory) -> None:
    first, second = other_key(), other_key()
    path = records.keep(inventory, "attic", first, ansible_become_password="{{ s3cret }}")
    assert records.find_kept_password(inventory, "attic", first) == "{{ s3cret }}"
    assert records.find_kept_password(inventory, "attic", second) is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    # And a connection of that name takes no other key.
    assert render_variable(inventory.host("attic"), "ssh_host_key") == first
    assert render_variable(inventory.host("attic"), "ansible_become_password") == "{{ s3cret }}"


def test_stored_password_without_a_key_needs_the_recorded_key(
    inventory: Inventory,
) -> None:
    file = records.secret_file(inventory, "cellar")
    file.parent.mkdir(parents=True)
    file.write_text("ansible_become_password: old\n")
    recorded_key = str(inventory.host("cellar").variables["ssh_host_key"])
    assert records.find_kept_password(inventory, "cellar", recorded_key) == "old"
    assert records.find_kept_password(inventory, "cellar", other_key()) is None


def test_unset_passwords_are_not_stored(inventory: Inventory) -> None:
    before = records.secrets(inventory, "attic")
    records.keep(inventory, "attic", other_key(), other_passwords={"root": "never-set"})
    records.restore_secrets(inventory, "attic", before)
    assert not records.secret_file(inventory, "attic").exists()
    records.keep(inventory, "attic", other_key(), ansible_become_password="set")
    before = records.secrets(inventory, "attic")
    records.keep(inventory, "attic", other_key(), other_passwords={"root": "never-set"})
    records.restore_secrets(inventory, "attic", before)
    assert records.secrets(inventory, "attic") == before


def test_text_of_a_rig_is_written_as_unsafe_data(inventory: Inventory, tmp_path: Path) -> None:
    evil = {"{{ 7 * 7 }}": "{{ 7 * 7 }}"}
    text = yaml_source.dump_yaml({"mac_addresses": yaml_source.mark_unsafe(evil), "n": 1})
    assert text == "mac_addresses: !unsafe\n  '{{ 7 * 7 }}': '{{ 7 * 7 }}'\nn: 1\n"
    read = yaml_source.parse_yaml(text, "rigs.yml")["mac_addresses"]
    assert all(type(text) is yaml_source.Unsafe for pair in read.items() for text in pair)


# -- fab -H HOST -- command


def fab(folder: Path, *words: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "provision/cli/program.py"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": ""},
    )


@pytest.fixture
def fleet(tmp_path: Path, known_hosts: Path) -> Iterator[tuple[Path, SshServer]]:
    with ssh_server(b"first\x1b[2J\nsecond\x1b]0;title\x07\n") as server:
        file = tmp_path / "rigs.yml"
        file.write_text(
            f"rigs:\n  hosts:\n    attic:\n      ansible_host: 127.0.0.1\n"
            f"      ansible_port: {server.port}\n      ansible_user: root\n"
            "      ansible_password: hunter22\n"
            f"      ansible_ssh_known_hosts_file: {known_hosts}\n"
        )
        yield file, server


def run_command(fleet: tuple[Path, SshServer], *words: str) -> subprocess.CompletedProcess[str]:
    file, _ = fleet
    os.environ["DEEPRIG_INVENTORY"] = str(file)
    try:
        return fab(ROOT, "-H", "attic", *words, home=file.parent)
    finally:
        del os.environ["DEEPRIG_INVENTORY"]


def test_command_is_not_sent_to_unknown_or_changed_keys(
    fleet: tuple[Path, SshServer], known_hosts: Path
) -> None:
    _, server = fleet
    done = run_command(fleet, "--", "uptime")
    assert done.returncode == 4
    assert "is not known" in done.stderr
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {other_key()}\n")
    done = run_command(fleet, "--", "uptime")
    assert done.returncode == 4
    assert "has CHANGED" in done.stderr
    assert server.seen.passwords == []


def test_command_runs_on_a_known_rig(fleet: tuple[Path, SshServer], known_hosts: Path) -> None:
    _, server = fleet
    known_hosts.write_text(server.known_as())
    done = run_command(fleet, "--", "uptime", "-p")
    assert (done.returncode, done.stdout) == (0, "attic  first\nattic  second\n"), done.stderr
    assert "uptime -p" in server.seen.commands[-1]


@pytest.mark.parametrize("fabfile", [None, "# tasks of another project\n"])
def test_command_outside_a_checkout_is_refused(fabfile: str | None, tmp_path: Path) -> None:
    """Plain Fabric would run it there, and accept any key."""
    if fabfile is not None:
        (tmp_path / "fabfile.py").write_text(fabfile)
    done = fab(tmp_path, "-H", "127.0.0.1", "--", "uptime", home=tmp_path)
    assert done.returncode == 2
    assert "Run fab in deeprig's folder" in done.stderr
