"""`fab adopt`: from an address and a password to a rig that is managed by key."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from provision.inventory import yaml_source
from provision.ssh.host_keys import format_host_key
from tests.lab.operator import ROOT, Said, finish

NAME = "test50"
USER, PASSWORD = flavour.find("hiveos").user, flavour.find("hiveos").password
RIGS = """\
# My rigs.
rigs:
  hosts:
    cellar:   # the other one
      ansible_host: 192.0.2.7   # by DHCP

  # The boss' own are elsewhere.
other:
  hosts: {}
"""


@dataclass(frozen=True)
class Home:
    """An operator's home folder and inventory, as they are before the first rig."""

    folder: Path
    inventory: Path
    rig: Rig

    def adopt(self, *words: str, password: str = "", address: str = "") -> Said:
        """Run `fab adopt`; the password comes from a file."""
        given = self.folder / "password.yml"
        given.write_text(json.dumps({"ansible_password": password}))
        extra = ["-e", f"@{given}"] if password else []
        where = address or f"{self.rig.address}:{self.rig.port}"
        command = [
            sys.executable,
            "-m",
            "fabric",
            "adopt",
            "-H",
            where,
            "--inventory",
            str(self.inventory),
            "--accept-new",
            *extra,
            *words,
        ]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(self.folder), "COLUMNS": "200"},
        )
        return finish(process)

    def steps(self, said: Said) -> dict[str, str]:
        """The statuses of a run with --json."""
        (report,) = json.loads(said.stdout)
        return {step["name"]: step["status"] for step in report["steps"]}

    def files(self) -> dict[str, str]:
        """All that the inventory and the home folder hold."""
        paths = [*self.inventory.rglob("*"), *(self.folder / ".ssh").rglob("*")]
        return {str(path): path.read_text() for path in paths if path.is_file()}

    def entry(self, name: str) -> dict[str, Any]:
        """A rig's variables, as the file has them."""
        document = yaml_source.load(self.inventory / "rigs.yml")
        return dict(document["rigs"]["hosts"][name])

    def ssh(self, *options: str, user: str = USER) -> subprocess.CompletedProcess[str]:
        """OpenSSH itself, as the operator would use it."""
        command = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(self.rig.port),
            *options,
            "-o",
            f"UserKnownHostsFile={self.folder}/.ssh/known_hosts",
            "-o",
            "ConnectTimeout=10",
            f"{user}@{self.rig.address}",
            "echo in",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @property
    def by_key(self) -> tuple[str, ...]:
        """OpenSSH's options for the new key and nothing else."""
        key = self.folder / ".ssh/id_ed25519"
        return ("-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes")


#: What adopting changes on a rig, and what the tests here change: kept aside, then put back.
FOLDERS = "/etc /home /root /var/mail /run/hardware/sys/class/dmi"
KEEP = f"mkdir /run/kept && cp -a --parents {FOLDERS} /run/kept"
PUT_BACK = (
    f"pkill -KILL -u user; for folder in {FOLDERS}; do find $folder -mindepth 1 -delete;"
    " cp -a /run/kept/$folder/. $folder/; done; systemctl daemon-reload; systemctl restart ssh"
)


@pytest.fixture(scope="module")
def bought(make_rig: Callable[[str], Rig]) -> Rig:
    """A rig as it was bought, with a copy of what the tests change."""
    rig = make_rig(NAME)
    rig.run(KEEP)
    return rig


@pytest.fixture
def target(bought: Rig) -> Iterator[Rig]:
    """That rig; after the test it is as it was bought."""
    yield bought
    bought.run(PUT_BACK, check=False)
    bought.wait()


@pytest.fixture
def home(target: Rig, tmp_path: Path) -> Home:
    """A rig as it was bought, and an operator who never saw it."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "rigs.yml").write_text(RIGS)
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder, inventory, target)


def test_from_an_address_and_a_password_to_a_managed_rig(home: Home) -> None:
    said = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert said.status == 0, said.text
    said.names("SHA256:", "HiveOS", "RTX 3090", "made now", "the mining system ships with")
    # Its key opens the door, and no password does.
    assert home.ssh(*home.by_key).stdout == "in\n"
    refused = home.ssh("-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes")
    assert "Permission denied (publickey)" in refused.stderr
    assert "in" not in refused.stdout
    # The old password is nobody's any more, root's included.
    secret = home.inventory / "host_vars/attic/secret.yml"
    password = yaml_source.load(secret)["ansible_become_password"]
    assert secret.stat().st_mode & 0o777 == 0o600
    check = "perl -e 'print crypt($ARGV[1], (getpwnam $ARGV[0])[1]) eq (getpwnam $ARGV[0])[1]'"
    for user in (USER, "root"):
        assert home.rig.run(f"{check} {user} {PASSWORD}").stdout == ""
        assert home.rig.run(f"{check} {user} {password}").stdout == "1"
    # The entry is written below what was there, which stays as it was.
    text = (home.inventory / "rigs.yml").read_text()
    kept = [line for line in text.splitlines() if line in RIGS.splitlines()]
    assert kept == RIGS.splitlines()
    entry = home.entry("attic")
    assert entry["ansible_host"] == home.rig.address
    assert entry["ansible_user"] == USER
    assert entry["ansible_ssh_private_key_file"] == "~/.ssh/id_ed25519"
    mac = home.rig.run("cat /sys/class/net/eth0/address").stdout.strip()
    assert entry["mac_addresses"] == {"eth0": mac}
    assert entry["ssh_host_key"] in home.rig.host_keys()[0] + home.rig.host_keys()[1]
    assert "!unsafe" in text
    assert "# Adopted on " in text
    assert "HiveOS" in text

    # A second time nothing changes, by the address and by the name.
    before = home.files(), home.rig.run("cat /etc/shadow /home/user/.ssh/authorized_keys").stdout
    for words in (("--user", USER), ()):
        again = home.adopt("--json", *words, address="" if words else "attic")
        assert again.status == 0, again.text
        assert set(home.steps(again).values()) == {"ok"}, again.text
        after = home.files(), home.rig.run("cat /etc/shadow /home/user/.ssh/authorized_keys").stdout
        assert after == before

    # And the rig is one that the other verbs reach, root included.
    command = [
        sys.executable,
        "-m",
        "fabric",
        "facts",
        "-H",
        "attic",
        "--json",
        "--inventory",
        str(home.inventory),
    ]
    facts = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(home.folder)},
    )
    assert json.loads(facts.stdout)["attic"]["ansible_user_id"] == "root"


def test_a_rig_that_the_inventory_knows_by_its_password(home: Home) -> None:
    """Its entry has another address, known by the host key; the old password is taken out of it."""
    key = home.rig.run("cut -d' ' -f-2 /etc/ssh/ssh_host_ed25519_key.pub").stdout.strip()
    rigs = home.inventory / "rigs.yml"
    rigs.write_text(
        RIGS.replace(
            "      ansible_host: 192.0.2.7",
            f"""\
      ssh_host_key: {key}
      ansible_user: {USER}
      ansible_password: "{PASSWORD}"
      ansible_become_password: "{PASSWORD}"
      ansible_host: 192.0.2.7""",
        )
    )
    said = home.adopt("--user", USER, password=PASSWORD)
    assert said.status == 0, said.text
    said.names("without ansible_password", f"ansible_host: {home.rig.address}")
    entry = home.entry("cellar")
    assert entry["ansible_host"] == home.rig.address
    assert entry["ansible_ssh_private_key_file"] == "~/.ssh/id_ed25519"
    assert not {"ansible_password", "ansible_become_password"} & set(entry)
    assert "   # by DHCP\n" in rigs.read_text()
    again = home.adopt("--json", address="cellar")
    assert set(home.steps(again).values()) == {"ok"}, again.text


def test_an_entry_that_cant_be_changed_leaves_the_passwords(home: Home) -> None:
    """It stands in another file of the inventory, in one line: what it says must stay true."""
    (home.inventory / "attic.yml").write_text(
        f"rigs: {{hosts: {{attic: {{ansible_host: {home.rig.address}, ansible_user: {USER},"
        f' ansible_port: {home.rig.port}, ansible_password: "{PASSWORD}"}}}}}}\n'
    )
    for _ in range(2):
        said = home.adopt("--json", address="attic")
        assert said.status == 2
        said.names("attic.yml", "can't be changed safely", "Passwords and the door stay")
        assert home.steps(said)["inventory"] == "failed"
        assert "password" not in home.steps(said)
    assert home.ssh(*home.by_key).stdout == "in\n"


def test_what_was_left_or_cut_off_is_done_by_the_next_run(home: Home) -> None:
    rigs = home.inventory / "rigs.yml"
    kept = home.adopt("--user", USER, "--name", "attic", "--keep-passwords", password=PASSWORD)
    assert kept.status == 0, kept.text
    home.rig.run("rm /etc/sudoers.d/* 2>/dev/null; true")
    # The key opens, and nothing is known: the passwords that everybody knows are found.
    (home.inventory / "host_vars/attic/secret.yml").unlink(missing_ok=True)
    found = home.adopt("--json", address="attic")
    assert found.status == 0, found.text
    assert home.steps(found)["password"] == "changed"
    assert home.steps(found)["door"] == "changed"
    found.names("of root and user", "the mining system ships with")
    # A password in the entry that is nobody's any more is none that others know.
    first = "      ansible_user:"
    rigs.write_text(
        rigs.read_text().replace(first, f"      ansible_password: '{PASSWORD}'   # old\n{first}")
    )
    stale = home.adopt("--json", address="attic")
    assert stale.status == 0, stale.text
    steps = home.steps(stale)
    assert steps["password"] == "ok"
    assert steps["inventory"] == "changed"
    assert "ansible_password" not in home.entry("attic")
    # Cut off before the entry was written: what sudo asks for is kept under the rig's name.
    rigs.write_text(RIGS)
    again = home.adopt("--user", USER, "--name", "attic", "--json")
    assert again.status == 0, again.text
    steps = home.steps(again)
    assert steps.pop("inventory") == "changed"
    assert set(steps.values()) == {"ok"}, steps


def test_a_key_that_is_refused_leaves_the_password_valid(home: Home) -> None:
    home.rig.run(
        "chmod 777 /home/user"
    )  # sshd takes no keys from a folder that others may write to
    said = home.adopt("--user", USER, "--json", password=PASSWORD)
    assert said.status == 2
    steps = home.steps(said)
    assert steps["key login"] == "failed"
    assert steps["inventory"] == "left"
    assert "password" not in steps
    assert (home.inventory / "rigs.yml").read_text() == RIGS
    by_password = [
        "sshpass",
        "-p",
        PASSWORD,
        "ssh",
        "-F",
        "none",
        "-p",
        str(home.rig.port),
        "-o",
        "PubkeyAuthentication=no",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        f"UserKnownHostsFile={home.folder}/other",
        f"{USER}@{home.rig.address}",
        "echo in",
    ]
    assert subprocess.run(by_password, capture_output=True, text=True, check=True).stdout == "in\n"


def test_a_server_that_goes_on_to_offer_passwords_is_opened_again(home: Home) -> None:
    """Its own main file has the last word where it does not read the folder first."""
    home.rig.run(
        "sed -i '/^Include/d' /etc/ssh/sshd_config && cat /etc/ssh/sshd_config.d/address.conf >>"
        f" /etc/ssh/sshd_config && printf 'Match User {USER}\\n PasswordAuthentication yes\\n' >>"
        " /etc/ssh/sshd_config && systemctl restart ssh"
    )
    before = home.rig.run("cat /etc/ssh/sshd_config").stdout
    said = home.adopt("--user", USER, "--name", "attic", "--json", password=PASSWORD)
    assert said.status == 2
    assert home.steps(said)["door"] == "failed"
    assert home.rig.run("cat /etc/ssh/sshd_config").stdout == before
    assert home.ssh(*home.by_key).stdout == "in\n"


def test_a_password_is_asked_for_at_a_terminal(home: Home) -> None:
    words = [
        sys.executable,
        "-m",
        "fabric",
        "adopt",
        "-H",
        home.rig.address,
        "--user",
        USER,
        "--inventory",
        str(home.inventory),
        "--accept-new",
    ]
    process = subprocess.Popen(
        ["script", "--quiet", "--return", "--command", shlex.join(words), "/dev/null"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HOME": str(home.folder)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    text = ""
    while chunk := os.read(process.stdout.fileno(), 4096).decode():
        text += chunk
        if text.endswith(f"Password of {USER} at {home.rig.address}: "):
            process.stdin.write(f"{PASSWORD}\n".encode())
            process.stdin.flush()
    assert process.wait(60) == 0, text
    assert "key login" in text
    assert home.ssh(*home.by_key).stdout == "in\n"


def test_bad_input_changes_nothing(home: Home) -> None:
    """One rig for them all: none of these may change it."""
    state = "find /home/user /etc -newer /run/systemd/units -type f | grep -v sudo_as_admin || :"
    wrong = home.adopt("--user", USER, password="wrong")
    assert wrong.status == 4
    wrong.names("the password was not accepted")
    none = home.adopt("--user", USER)
    assert none.status == 4
    none.names("no password is given")
    taken = home.adopt("--user", USER, "--name", "cellar", password=PASSWORD)
    assert taken.status == 2
    taken.names("another 'cellar' already", "--name")
    checked = home.adopt("--user", USER, "--check", "--json", password=PASSWORD)
    assert checked.status == 0
    steps = home.steps(checked)
    assert {name for name, status in steps.items() if status == "would change"} == {
        "SSH key",
        "password",
        "door",
        "inventory",
    }
    evil = home.adopt("--user", USER, "--name", "../attic", password=PASSWORD)
    assert evil.status == 2
    evil.names("'../attic' is no name")
    nowhere = home.adopt("--user", USER, "-i", "/nonexistent", password=PASSWORD)
    nowhere.names("there is no key file /nonexistent")
    (home.inventory / "rigs.yml").write_text("rigs:\n  hosts: [a, b]\n")
    broken = home.adopt("--user", USER, password=PASSWORD)
    assert broken.status == 2
    broken.names("rigs.yml:2")
    (home.inventory / "rigs.yml").write_text(RIGS)
    home.rig.run("echo 31 > /run/hardware/sys/class/dmi/id/chassis_type")
    laptop = home.adopt("--user", USER, password=PASSWORD)
    assert laptop.status == 2
    laptop.names("somebody's own computer", "convertible", "--yes-really")
    assert home.rig.run(state).stdout == ""
    assert (home.inventory / "rigs.yml").read_text() == RIGS
    home.rig.run(
        "printf 'PasswordAuthentication no\\n' > /etc/ssh/sshd_config.d/00-own.conf &&"
        " systemctl reload ssh"
    )
    closed = home.adopt("--user", USER)
    assert closed.status == 4
    closed.names("it takes no password", "publickey", "-i FILE")


def test_a_hostile_rig_gets_nothing_into_the_inventory(home: Home) -> None:
    """A user whose name is a template, and who has the password that everybody knows."""
    marker = home.folder / "marker"
    evil = f"{{{{cycler.__init__.__globals__.os.system('touch {marker}')}}}}"
    home.rig.run(
        f"hash=$(getent shadow {USER} | cut -d: -f2);"
        f" echo {shlex.quote(evil)}:x:1500:1500::/home/x:/bin/sh >> /etc/passwd;"
        f' echo {shlex.quote(evil)}:"$hash":19000:0:99999:7::: >> /etc/shadow'
    )
    said = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert said.status == 2
    said.names("as a user name")
    assert (home.inventory / "rigs.yml").read_text() == RIGS
    assert not (home.inventory / "host_vars").exists()
    home.adopt("--check", address="cellar")
    assert not marker.exists()


def test_a_rig_that_claims_the_mac_address_of_another_gets_nothing_of_it(home: Home) -> None:
    mac = home.rig.run("cat /sys/class/net/eth0/address").stdout.strip()
    rigs = home.inventory / "rigs.yml"
    other = format_host_key(paramiko.ECDSAKey.generate())
    text = RIGS.replace(
        "      ansible_host: 192.0.2.7",
        f"      mac_addresses: {{eth0: '{mac}'}}\n"
        f"      ssh_host_key: {other}\n      ansible_host: 192.0.2.7",
    )
    rigs.write_text(text)
    said = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert said.status == 0, said.text
    said.names("it has the MAC address of 'cellar', but another host key")
    assert home.entry("cellar")["ansible_host"] == "192.0.2.7"
    assert home.entry("attic")["ansible_host"] == home.rig.address
    # By that name it is not reached at all.
    wrong = home.adopt("-e", f"ansible_host={home.rig.address}", address="cellar")
    assert wrong.status == 4
    wrong.names("is not 'cellar'")
