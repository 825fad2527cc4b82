"""`fab adopt` refuses invalid or unsafe requests and changes nothing."""

from __future__ import annotations

import shlex
import subprocess

import paramiko

from provision.ssh.host_keys import format_host_key
from tests.lab.adopt.conftest import PASSWORD, RIGS, USER, Home


def test_password_stays_valid_when_the_inventory_entry_cannot_be_changed(home: Home) -> None:
    """The entry is on one line of another file, so the password in it must stay valid."""
    (home.inventory / "attic.yml").write_text(
        f"rigs: {{hosts: {{attic: {{ansible_host: {home.rig.address}, ansible_user: {USER},"
        f' ansible_port: {home.rig.port}, ansible_password: "{PASSWORD}"}}}}}}\n'
    )
    for _ in range(2):
        result = home.adopt("--json", address="attic")
        assert result.status == 2
        result.assert_shows("attic.yml", "can't be changed safely", "Passwords and the door stay")
        assert home.steps(result)["inventory"] == "failed"
        assert "password" not in home.steps(result)
    assert home.ssh(*home.by_key).stdout == "in\n"


def test_password_stays_valid_when_the_key_is_refused(home: Home) -> None:
    home.rig.run(
        "chmod 777 /home/user"
    )  # sshd takes no keys from a folder that others may write to
    result = home.adopt("--user", USER, "--json", password=PASSWORD)
    assert result.status == 2
    steps = home.steps(result)
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


def test_password_login_is_restored_when_sshd_still_offers_passwords(home: Home) -> None:
    """sshd_config overrides the drop-in folder unless it includes it first."""
    home.rig.run(
        "sed -i '/^Include/d' /etc/ssh/sshd_config && cat /etc/ssh/sshd_config.d/address.conf >>"
        f" /etc/ssh/sshd_config && printf 'Match User {USER}\\n PasswordAuthentication yes\\n' >>"
        " /etc/ssh/sshd_config && systemctl restart ssh"
    )
    before = home.rig.run("cat /etc/ssh/sshd_config").stdout
    result = home.adopt("--user", USER, "--name", "attic", "--json", password=PASSWORD)
    assert result.status == 2
    assert home.steps(result)["door"] == "failed"
    assert home.rig.run("cat /etc/ssh/sshd_config").stdout == before
    assert home.ssh(*home.by_key).stdout == "in\n"


def test_bad_input_changes_nothing(home: Home) -> None:
    """All cases use one rig: none of them may change it."""
    state = "find /home/user /etc -newer /run/systemd/units -type f | grep -v sudo_as_admin || :"
    wrong = home.adopt("--user", USER, password="wrong")
    assert wrong.status == 4
    wrong.assert_shows("the password was not accepted")
    none = home.adopt("--user", USER)
    assert none.status == 4
    none.assert_shows("no password is given")
    taken = home.adopt("--user", USER, "--name", "cellar", password=PASSWORD)
    assert taken.status == 2
    taken.assert_shows("another 'cellar' already", "--name")
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
    evil.assert_shows("'../attic' is not a valid host name")
    nowhere = home.adopt("--user", USER, "-i", "/nonexistent", password=PASSWORD)
    nowhere.assert_shows("the key file /nonexistent")
    (home.inventory / "rigs.yml").write_text("rigs:\n  hosts: [a, b]\n")
    broken = home.adopt("--user", USER, password=PASSWORD)
    assert broken.status == 2
    broken.assert_shows("rigs.yml:2")
    (home.inventory / "rigs.yml").write_text(RIGS)
    home.rig.run("echo 31 > /run/hardware/sys/class/dmi/id/chassis_type")
    laptop = home.adopt("--user", USER, password=PASSWORD)
    assert laptop.status == 2
    laptop.assert_shows("personal computer", "convertible", "--accept-workstation")
    home.rig.run("mkdir /var/lib/vastai_kaalia; rm /run/hardware/sys/class/dmi/id/chassis_type")
    rented = home.adopt("--user", USER, password=PASSWORD)
    assert rented.status == 2
    rented.assert_shows("a host of vast.ai", "/var/lib/vastai_kaalia", "Nothing was changed")
    home.rig.run("rmdir /var/lib/vastai_kaalia")
    assert home.rig.run(state).stdout == ""
    assert (home.inventory / "rigs.yml").read_text() == RIGS
    home.rig.run(
        "printf 'PasswordAuthentication no\\n' > /etc/ssh/sshd_config.d/00-own.conf &&"
        " systemctl reload ssh"
    )
    closed = home.adopt("--user", USER)
    assert closed.status == 4
    closed.assert_shows("it takes no password", "publickey", "-i FILE")


def test_hostile_rig_cannot_write_a_template_to_the_inventory(home: Home) -> None:
    """The user's name is a template, and the password is the default one."""
    marker = home.folder / "marker"
    evil = f"{{{{cycler.__init__.__globals__.os.system('touch {marker}')}}}}"
    home.rig.run(
        f"hash=$(getent shadow {USER} | cut -d: -f2);"
        f" echo {shlex.quote(evil)}:x:1500:1500::/home/x:/bin/sh >> /etc/passwd;"
        f' echo {shlex.quote(evil)}:"$hash":19000:0:99999:7::: >> /etc/shadow'
    )
    result = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert result.status == 2
    result.assert_shows("as a user name")
    assert (home.inventory / "rigs.yml").read_text() == RIGS
    assert not (home.inventory / "host_vars").exists()
    home.adopt("--check", address="cellar")
    assert not marker.exists()


def test_rig_with_a_copied_mac_address_does_not_change_the_other_entry(home: Home) -> None:
    mac = home.rig.run("cat /sys/class/net/eth0/address").stdout.strip()
    rigs = home.inventory / "rigs.yml"
    other = format_host_key(paramiko.ECDSAKey.generate())
    text = RIGS.replace(
        "      ansible_host: 192.0.2.7",
        f"      mac_addresses: {{eth0: '{mac}'}}\n"
        f"      ssh_host_key: {other}\n      ansible_host: 192.0.2.7",
    )
    rigs.write_text(text)
    result = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert result.status == 0, result.text
    result.assert_shows("it has the MAC address of 'cellar', but another host key")
    assert home.entry("cellar")["ansible_host"] == "192.0.2.7"
    assert home.entry("attic")["ansible_host"] == home.rig.address
    # By that name it is not reached at all.
    wrong = home.adopt("-e", f"ansible_host={home.rig.address}", address="cellar")
    assert wrong.status == 4
    wrong.assert_shows("is not 'cellar'")
