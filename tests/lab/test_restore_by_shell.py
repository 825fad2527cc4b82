"""`fab restore` on a rig without Python, and of backups and rigs that are not as they should be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.operator import FabResult, fab

NAME = "test87"
FOLDER = "/var/backups/deeprig"
PYTHON = "/usr/bin/python3"
#: Traps beside what the flavour has: each is something that demine or a hand changes.
TRAPS = r"""
printf '#!/bin/sh\nexec sleep infinity\n' >/usr/local/bin/work; chmod 755 /usr/local/bin/work
cp /usr/lib/lab-hardware/fake-miner /opt/t-rex-core
for name in by-hand hidden; do
  printf '[Service]\nExecStart=/usr/local/bin/work\n[Install]\nWantedBy=multi-user.target\n' \
    >/usr/lib/systemd/system/$name.service
done
printf '[Service]\nExecStart=/opt/t-rex-core --pool pool.example.net\n' \
  >/usr/lib/systemd/system/manual-t-rex.service
systemctl daemon-reload
systemctl start by-hand
runuser -u user -- sh -c '
  cd; mkdir -p .config/openbox
  printf "umask 022\n/opt/t-rex-core &\n" >.bash_login; chmod 600 .bash_login
  printf "/opt/t-rex-core &\n" >.zshrc; printf "/opt/t-rex-core &\n" >.xsession
  printf "/opt/t-rex-core &\n" >.config/openbox/autostart'
"""
#: What provisioning does to the like of them, and more than one step of it.
CONVERTED = r"""
systemctl mask --now manual-t-rex.service hidden.service
systemctl stop by-hand; systemctl enable hidden.service
cd /home/user
for file in .bash_login .zshrc .xsession .config/openbox/autostart; do
  sed -i 's/^.opt/: # deeprig: &/' $file
done
chmod 644 .bash_login; chown root .zshrc
mkdir -p /var/backups/deeprig/removed/home/user/.config/openbox
mv .config/openbox/autostart /var/backups/deeprig/removed/home/user/.config/openbox/
sed -i 's/pci=noaer//' /etc/default/grub; update-grub
"""
STATE = r"""
cd /home/user
for file in .bash_login .zshrc .xsession .config/openbox/autostart; do
  stat -c '%n %A %U %G' $file; sha256sum $file; done
for unit in manual-t-rex by-hand hidden; do
  echo $unit $(systemctl is-enabled $unit) $(systemctl is-active $unit); done
cat /boot/grub/grub.cfg; stat -c '%A %U' /boot/grub/grub.cfg /etc/default/grub
"""


@pytest.fixture(scope="module")
def before(target: Rig, inventory: Path) -> str:
    """The state of a rig that is then converted, and that has lost its Python."""
    target.run(
        "echo 'GRUB_CMDLINE_LINUX=\"pci=noaer quiet\"' >>/etc/default/grub; update-grub; "
        "sed 's/$/ pci=noaer/' /proc/cmdline >/run/words; mount --bind /run/words /proc/cmdline"
    )
    target.run(TRAPS)
    state = target.run(STATE, check=False).stdout
    assert "pci=noaer" in state
    result = fab(inventory, NAME, "provision", "--tags", "demine")
    assert result.status == 0, result.text
    target.run(CONVERTED, check=False)
    # The lab's Docker is a Python program, and stays usable.
    target.run(
        f"mkdir /root/python; mv {PYTHON} {PYTHON}.* /root/python/; "
        "sed -i '1s,.*,#!/root/python/python3,' /usr/bin/docker"
    )
    return state


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="ubuntu-miner")


def restore(inventory: Path, *words: str) -> FabResult:
    return fab(inventory, NAME, "restore", *words, seconds=300)


def test_rig_without_python_is_restored_by_its_shell(
    target: Rig, inventory: Path, before: str
) -> None:
    assert fab(inventory, NAME, "facts").status != 0
    changed = target.run(STATE, check=False).stdout
    assert changed != before

    predicted = restore(inventory, "--check")
    assert predicted.status == 0, predicted.text
    predicted.assert_shows(
        "would bring back: /home/user/.bash_login",
        "would bring back: /home/user/.config/openbox/autostart",
        "would bring back: unit manual-t-rex.service",
        "would bring back: kernel argument pci=noaer",
        "Nothing was changed.",
    )
    assert target.run(STATE, check=False).stdout == changed

    document = json.loads(restore(inventory, "--json").stdout)["hosts"][NAME]
    assert document["status"] == 0, document
    assert document["lines"][-1] == "The rig was compared with the backup: nothing else differs."
    assert target.run(STATE, check=False).stdout == before
    restore(inventory).assert_shows("Files: 0, packages: 0, keys: 0, units: 0.")


def test_what_can_not_come_back_is_named_and_ends_with_an_error(
    target: Rig, inventory: Path, before: str
) -> None:
    target.run(f"rm /etc/cron.d/mine; mkdir -p /etc/cron.d/mine/full; {CONVERTED}", check=False)
    result = restore(inventory)
    assert result.status == 2
    result.assert_shows(
        "These differ from the backup still:", "/etc/cron.d/mine: File type differs"
    )
    target.run("rm -r /etc/cron.d/mine")
    assert restore(inventory).status == 0
    assert target.run(STATE, check=False).stdout == before


def test_another_run_on_the_rig_is_not_disturbed(target: Rig, inventory: Path, before: str) -> None:
    command = "mkdir -p -m 700 /run/deeprig; flock /run/deeprig/lock sleep 30"
    target.run(f"systemd-run --unit holder sh -c {shlex.quote(command)}")
    target.run("timeout 10 sh -c 'while flock -n /run/deeprig/lock true; do :; done'")
    result = restore(inventory)
    target.run("systemctl stop holder", check=False)
    assert result.status == 2
    result.assert_shows("another run is at work on this rig")


def test_damaged_and_missing_backups_are_refused(target: Rig, inventory: Path, before: str) -> None:
    target.run(f"cp {FOLDER}/held.txt /root/held; echo x >>{FOLDER}/held.txt")
    result = restore(inventory)
    assert result.status == 2
    result.assert_shows("is damaged, and nothing was restored", "held.txt")
    target.run(f"cp /root/held {FOLDER}/held.txt; mv {FOLDER} /root/lost")
    result = restore(inventory)
    target.run(f"mv /root/lost {FOLDER}")
    assert result.status == 2
    result.assert_shows("has no backup", "--source")


def test_backup_of_an_earlier_version_is_restored(
    target: Rig, inventory: Path, before: str
) -> None:
    """It has no lists of what ran, and of homes only a few files."""
    target.run(
        f"""cd {FOLDER} && rm -f running.txt starters.txt containers.txt mounts.txt
        mkdir /root/old && tar -xzf before.tar.gz -C /root/old
        rm -r /root/old/home/user/.config /root/old/home/user/.zshrc /root/old/boot/grub/grubenv
        tar -czf before.tar.gz -C /root/old . && gunzip before.tar.gz && gzip before.tar
        tar -czf before.tar.gz -C /root/old etc boot home root var
        sha256sum before.tar.gz *.txt >SHA256SUMS; rm -r /root/old""",
        check=False,
    )
    target.run(CONVERTED, check=False)
    result = restore(inventory)
    assert result.status == 0, result.text
    lines = [
        line
        for line in before.splitlines()
        if not any(word in line for word in (".zshrc", "by-hand", "openbox"))
    ]
    after = target.run(STATE, check=False).stdout.splitlines()
    assert [line for line in lines if line not in after] == []
    # It was put aside, and is in no archive: its owner has it again.
    owner = target.run("stat -c %U /home/user/.config/openbox/autostart").stdout
    assert owner == "user\n"
