"""A user without rights on a rig that is demined, backed up and restored by root."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import fab

NAME = "test54"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb8Vw2rN5tQm9xL4sZc7yE1dF6gH3jP0aUqWvBnXoYt"
#: What is root's, and stays as it is: content, owner and mode.
STATE = r"""
for file in /etc/shadow /etc/passwd /etc/x.desktop /root/.ssh/*; do
  stat -c '%n %a %U %G' "$file"; sha256sum "$file"
done
ls -la /root/.ssh | grep -c .
find /var/backups /home /root -name 'pwned*'
"""
#: A miner's line, and what the old shell lines wrote to, followed, waited for and took as options.
BEFORE = f"""
cd
printf 'umask 022\\n/opt/t-rex --pool x &\\n' >.profile
ln -s /etc/shadow .profile.deeprig
rm -f .bashrc
mkfifo .bashrc .bash_profile
mkdir -p .ssh .config/autostart .config/systemd/user
printf '%s hive@hiveos.farm\\n' '{KEY}' >.ssh/authorized_keys
printf 'Host x\\n' >.ssh/config
truncate -s 1T .ssh/huge
printf 'Exec=/opt/t-rex\\n' >.config/autostart/x.desktop
ln -s /etc/shadow .config/systemd/user/y.service
"""
INJECTION = "x --checkpoint=1 --checkpoint-action=exec=id>pwned.conf"
#: In the way of what is brought back.
AFTER = """
cd
rm -rf .profile.deeprig .ssh .config .profile
ln -s /root/.ssh .ssh
ln -s /etc/passwd .profile
mkdir .config
ln -s /etc .config/autostart
"""


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    rig = make_rig(NAME, flavour="clean")
    rig.run(
        "useradd -m mallory && useradd -m ethos && printf 'Exec=own\\n' >/etc/x.desktop &&"
        " mkdir -p -m 700 /root/.ssh && touch /root/.ssh/authorized_keys &&"
        " ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519"
    )
    return rig


def as_user(rig: Rig, user: str, script: str) -> None:
    rig.run(f"runuser -u {user} -- env HOME=/home/{user} sh -c {shlex.quote(script)}")


@pytest.mark.extended
def test_provisioning_discloses_nothing_to_the_user_and_keeps_user_files(
    target: Rig, inventory: Path
) -> None:
    as_user(target, "mallory", BEFORE)
    as_user(target, "ethos", f"cd; touch '{INJECTION}'")
    before = target.run(STATE).stdout

    result = fab(inventory, NAME, "provision", "--tags", "demine")
    assert result.status == 0, result.text
    assert target.run(STATE).stdout == before
    assert ": # deeprig: /opt/t-rex" in target.run("cat /home/mallory/.profile").stdout
    assert target.run("stat -c %U /home/mallory/.profile").stdout == "mallory\n"
    assert target.run("cat /home/mallory/.ssh/authorized_keys").stdout.startswith("# deeprig: ")
    gone = target.run("ls /home/mallory/.config/autostart").stdout
    assert gone == ""
    aside = "/var/backups/deeprig/removed/home/mallory/.config/autostart/x.desktop"
    assert target.run(f"cat {aside}").stdout == "Exec=/opt/t-rex\n"
    listing = target.run("tar -tvzf /var/backups/deeprig/before.tar.gz home").stdout
    assert "home/mallory/.config/systemd/user/y.service -> /etc/shadow" in listing
    assert INJECTION in listing
    assert "huge" not in listing
    assert "mallory/.bashrc" not in listing  # a FIFO
    assert "mallory/.bash_profile" not in listing

    # What leads out of the home is replaced by what was there; nothing behind it is touched.
    as_user(target, "mallory", AFTER)
    result = fab(inventory, NAME, "restore")
    assert result.status == 0, result.text
    assert target.run(STATE).stdout == before
    for file in (".ssh", ".profile", ".config/autostart"):
        assert target.run(f"readlink /home/mallory/{file}", check=False).stdout == ""
    config = "cat /home/mallory/.config/autostart/x.desktop"
    assert target.run(config).stdout == "Exec=/opt/t-rex\n"
    profile = target.run("cd /home/mallory; stat -c '%U %G' .profile; cat .profile").stdout
    assert profile == "mallory mallory\numask 022\n/opt/t-rex --pool x &\n"
    assert target.run("stat -c '%U' /home/mallory/.ssh/config").stdout == "mallory\n"
    link = "readlink /home/mallory/.config/systemd/user/y.service"
    assert target.run(link).stdout == "/etc/shadow\n"
    again = fab(inventory, NAME, "restore")
    again.assert_shows("Files: 0", "changed=0")

    # A folder in the way of a file is not removed with what is in it: it is named.
    as_user(target, "mallory", "cd; rm .profile; mkdir -p .profile/own")
    stuck = fab(inventory, NAME, "restore")
    assert stuck.status == 2
    stuck.assert_shows("/home/mallory/.profile: File type differs", "Not everything is as in")
    assert target.run("ls /home/mallory/.profile").stdout == "own\n"
