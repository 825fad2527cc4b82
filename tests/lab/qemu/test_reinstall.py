"""`fab reinstall` on a machine with a disk: another system, the way back, and what stays."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.qemu import disk
from lab.qemu.disk_machine import DiskMachine
from tests.lab.operator import FabResult, fab
from tests.lab.qemu.disk_machines import NAME, run, run_as_root, running_machine, write_inventory

pytestmark = pytest.mark.extended  # the machine boots many times

#: Minutes of the dead man's switch: a boot takes less than two under emulation.
TRIAL_MINUTES = 4
SECONDS = 1500.0
#: What the old system has, and must have unharmed afterwards.
OLD = "sha256sum /etc/passwd /etc/fstab /etc/network/interfaces /boot/grub/grub.cfg"


@dataclass(frozen=True)
class OldRig:
    """A machine with an old system, its operator's inventory and key."""

    machine: DiskMachine
    inventory: Path
    key: Path

    def reinstall(self, *words: str) -> FabResult:
        return fab(self.inventory, NAME, "reinstall", *words, seconds=SECONDS)

    def document(self, *words: str, status: int = 0) -> dict[str, Any]:
        result = self.reinstall("--json", *words)
        assert result.status == status, result.text
        document: dict[str, Any] = json.loads(result.stdout)["hosts"][NAME]
        return document

    def run(self, command: str) -> str:
        return run_as_root(self.machine, command, self.key)

    def restart(self) -> None:
        boot = self.run("cat /proc/sys/kernel/random/boot_id")
        self.machine.cut_power()
        self.machine.switch_on()
        self.machine.wait_for_ssh()
        assert self.run("cat /proc/sys/kernel/random/boot_id") != boot


@pytest.fixture(scope="module", params=disk.FIRMWARES)
def rig(
    request: pytest.FixtureRequest, own_network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OldRig]:
    folder = tmp_path_factory.mktemp("machine")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with running_machine(folder, request.param, 201) as machine:
        line = key.with_suffix(".pub").read_text()
        run(machine, f"mkdir -p -m 700 .ssh && echo '{line}' >.ssh/authorized_keys")
        inventory = write_inventory(
            machine,
            tmp_path_factory.mktemp("inventory"),
            ansible_ssh_private_key_file=str(key),
            reinstall_trial_minutes=TRIAL_MINUTES,
        )
        yield OldRig(machine, inventory, key)


@pytest.fixture(scope="module")
def old(rig: OldRig) -> str:
    """What the old system is, before anything is done."""
    return rig.run(OLD)


class TestReinstall:
    """In this order, on one machine for each firmware."""

    def test_check_shows_the_plan_and_changes_nothing(self, rig: OldRig, old: str) -> None:
        result = rig.reinstall("--check", "--accept-new")
        assert result.status == 0, result.text
        result.assert_shows("Debian GNU/Linux 12", "Debian 13", "/deeprig-1", "fab reinstall -H")
        assert rig.run("ls /") == rig.run("ls / | grep -v deeprig")
        assert rig.run(OLD) == old

    def test_new_system_runs_with_the_same_name_key_and_user(self, rig: OldRig, old: str) -> None:
        before = rig.run("cat /etc/ssh/ssh_host_ed25519_key.pub")
        made = rig.document()
        assert made["ending"] == "installed"
        assert (made["running"], made["default"]) == ("/deeprig-1", "/deeprig-1")
        assert "trixie" in rig.run("cat /etc/os-release")
        assert "[/deeprig-1]" in rig.run("findmnt -no SOURCE /")
        assert rig.run("cat /etc/ssh/ssh_host_ed25519_key.pub") == before
        assert rig.run("hostname") == f"{disk.HOST_NAME}\n"
        assert "0 loaded units" in rig.run("systemctl --failed")
        assert rig.run("systemctl is-system-running --wait || :") == "running\n"

    def test_passwords_open_no_login(self, rig: OldRig) -> None:
        with pytest.raises(subprocess.CalledProcessError):
            run(rig.machine, "true")

    def test_switches_are_off_and_the_next_boot_is_the_new_system(self, rig: OldRig) -> None:
        assert rig.run("ls /run/deeprig-guard 2>/dev/null || echo off") == "off\n"
        rig.restart()
        assert "subroot=/deeprig-1" in rig.run("cat /proc/cmdline")
        assert "deeprig.trial" not in rig.run("cat /proc/cmdline")
        assert rig.document()["ending"] == "unchanged"

    def test_settings_of_the_boot_menu_work_in_the_new_system(self, rig: OldRig) -> None:
        rig.run(
            "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX pci=noaer\"'"
            " >/etc/default/grub.d/own.cfg && update-grub"
        )
        rig.restart()
        words = rig.run("cat /proc/cmdline")
        assert "pci=noaer" in words
        assert "subroot=/deeprig-1" in words

    def test_undo_goes_back_to_the_old_system_unharmed(self, rig: OldRig, old: str) -> None:
        undone = rig.document("--undo")
        assert undone["ending"] == "undone"
        assert "bookworm" in rig.run("cat /etc/os-release")
        assert rig.run(OLD) == old
        rig.restart()
        assert "bookworm" in rig.run("cat /etc/os-release")

    def test_system_without_an_init_leads_back_by_itself(self, rig: OldRig) -> None:
        rig.run("mv /deeprig-1/usr/lib/systemd/systemd /deeprig-1/root/")
        rig.run("ln -s /bin/false /deeprig-1/usr/lib/systemd/systemd")
        back = rig.document(status=2)
        assert back["ending"] == "fell_back"
        assert back["reasons"]
        assert "bookworm" in rig.run("cat /etc/os-release")
        rig.run("mv /deeprig-1/root/systemd /deeprig-1/usr/lib/systemd/systemd")

    def test_commit_frees_the_room_and_the_new_system_still_boots(self, rig: OldRig) -> None:
        assert rig.document()["ending"] == "installed"
        committed = rig.document("--commit")
        assert committed["ending"] == "committed"
        assert rig.run("ls /run/deeprig/whole").split() == ["boot", "deeprig-1", "lost+found"]
        rig.restart()
        assert "subroot=/deeprig-1" in rig.run("cat /proc/cmdline")
        assert "0 loaded units" in rig.run("systemctl --failed")
        refused = rig.reinstall("--undo")
        assert refused.status == 2
        refused.assert_shows("no longer there")
