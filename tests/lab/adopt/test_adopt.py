"""`fab adopt`: from an address and a password to a rig that is managed by key."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

from provision.inventory import yaml_source
from tests.lab.adopt.conftest import PASSWORD, RIGS, USER, Home
from tests.lab.operator import ROOT


def test_adopt_converts_password_login_to_key_login(home: Home) -> None:
    result = home.adopt("--user", USER, "--name", "attic", password=PASSWORD)
    assert result.status == 0, result.text
    result.assert_shows(
        "SHA256:", "HiveOS", "RTX 3090", "made now", "the mining system's default password"
    )
    # The key logs in, and no password does.
    assert home.ssh(*home.by_key).stdout == "in\n"
    refused = home.ssh("-o", "PubkeyAuthentication=no", "-o", "BatchMode=yes")
    assert "Permission denied (publickey)" in refused.stderr
    assert "in" not in refused.stdout
    # The old password is no longer valid, for root either.
    secret = home.inventory / "host_vars/attic/secret.yml"
    password = yaml_source.load_yaml(secret)["ansible_become_password"]
    assert secret.stat().st_mode & 0o777 == 0o600
    check = "perl -e 'print crypt($ARGV[1], (getpwnam $ARGV[0])[1]) eq (getpwnam $ARGV[0])[1]'"
    for user in (USER, "root"):
        assert home.rig.run(f"{check} {user} {PASSWORD}").stdout == ""
        assert home.rig.run(f"{check} {user} {password}").stdout == "1"
    # The new entry is below the existing ones, which do not change.
    text = (home.inventory / "rigs.yml").read_text()
    unchanged = [line for line in text.splitlines() if line in RIGS.splitlines()]
    assert unchanged == RIGS.splitlines()
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

    # The second run changes nothing, whether by address or by name.
    before = home.files(), home.rig.run("cat /etc/shadow /home/user/.ssh/authorized_keys").stdout
    for words in (("--user", USER), ()):
        again = home.adopt("--json", *words, address="" if words else "attic")
        assert again.status == 0, again.text
        assert set(home.steps(again).values()) == {"ok"}, again.text
        after = home.files(), home.rig.run("cat /etc/shadow /home/user/.ssh/authorized_keys").stdout
        assert after == before

    # Other verbs reach the rig, also as root.
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


def test_known_rig_is_found_by_host_key_and_its_password_is_removed(home: Home) -> None:
    """The rig is found by its host key at another address; its old password is removed."""
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
    result = home.adopt("--user", USER, password=PASSWORD)
    assert result.status == 0, result.text
    result.assert_shows("without ansible_password", f"ansible_host: {home.rig.address}")
    entry = home.entry("cellar")
    assert entry["ansible_host"] == home.rig.address
    assert entry["ansible_ssh_private_key_file"] == "~/.ssh/id_ed25519"
    assert not {"ansible_password", "ansible_become_password"} & set(entry)
    assert "   # by DHCP\n" in rigs.read_text()
    again = home.adopt("--json", address="cellar")
    assert set(home.steps(again).values()) == {"ok"}, again.text


@pytest.mark.extended
def test_next_run_completes_skipped_and_interrupted_steps(home: Home) -> None:
    rigs = home.inventory / "rigs.yml"
    with_passwords = home.adopt(
        "--user", USER, "--name", "attic", "--keep-passwords", password=PASSWORD
    )
    assert with_passwords.status == 0, with_passwords.text
    home.rig.run("rm /etc/sudoers.d/* 2>/dev/null; true")
    # The key logs in, and no password is known: default passwords are found.
    (home.inventory / "host_vars/attic/secret.yml").unlink(missing_ok=True)
    repeated = home.adopt("--json", address="attic")
    assert repeated.status == 0, repeated.text
    assert home.steps(repeated)["password"] == "changed"
    assert home.steps(repeated)["door"] == "changed"
    repeated.assert_shows("of root and user", "the mining system's default password")
    # An entry's password that is no longer valid does not count as a default password.
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
    # Cut off before the entry was written: the sudo password is kept under the rig's name.
    rigs.write_text(RIGS)
    again = home.adopt("--user", USER, "--name", "attic", "--json")
    assert again.status == 0, again.text
    steps = home.steps(again)
    assert steps.pop("inventory") == "changed"
    assert set(steps.values()) == {"ok"}, steps


def test_adopt_prompts_for_a_password_at_a_terminal(home: Home) -> None:
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
