"""Machines with a disk, BIOS and UEFI: they boot, survive power cuts, and verbs work on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.qemu import disk
from lab.qemu.disk_machine import DiskMachine
from tests.lab.operator import fab
from tests.lab.qemu.disk_machines import NAME, run, running_machine, write_inventory


@pytest.fixture(scope="module", params=disk.FIRMWARES)
def machine(
    request: pytest.FixtureRequest, own_network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DiskMachine]:
    with running_machine(tmp_path_factory.mktemp("machine"), request.param, 200) as made:
        yield made


@pytest.fixture(scope="module")
def inventory(machine: DiskMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inventory(machine, tmp_path_factory.mktemp("inventory"))


def read_facts(inventory: Path) -> dict[str, Any]:
    result = fab(inventory, NAME, "facts", "--json", "--accept-new", seconds=400)
    assert result.status == 0, result.text
    facts: dict[str, Any] = json.loads(result.stdout)[NAME]
    return facts


@pytest.mark.extended
class TestDiskMachine:
    """In this order, on one machine for each firmware."""

    def test_its_own_kernel_and_boot_loader_run(self, machine: DiskMachine) -> None:
        assert "BOOT_IMAGE=/boot/vmlinuz-" in run(machine, "cat /proc/cmdline")
        has_efi = "efi" in run(machine, "ls /sys/firmware").split()
        assert has_efi is (machine.firmware == "uefi")
        assert run(machine, "findmnt -no SOURCE,FSTYPE /").split()[1] == "ext4"
        assert "0 loaded units" in run(machine, "systemctl --failed")

    def test_facts_name_its_board_cards_and_lanes(self, inventory: Path) -> None:
        facts = read_facts(inventory)
        rig = facts["ansible_local"]["deeprig"]
        assert [gpu["device_id"] for gpu in rig["gpus"]] == ["2204"] * 3, rig["gpus"]
        assert rig["board"]["name"] == "B450 Steel Legend"
        (kernel,) = [kernel for kernel in rig["kernels"] if kernel["default"]]
        assert kernel["bootable"]
        assert kernel["package"].startswith("linux-image-")
        assert rig["kernel"]["boot"]["loader"] == "grub"
        assert rig["mining_os"] is None
        assert rig["miners"] == []

    @pytest.mark.parametrize("verb", ["assess", "checklist"])
    def test_report_is_written(self, inventory: Path, verb: str) -> None:
        result = fab(inventory, NAME, verb, seconds=400)
        assert result.status in (0, 1), result.text
        result.assert_shows("B450 Steel Legend", "RTX 3090")

    def test_preflight_knows_the_system(self, inventory: Path) -> None:
        result = fab(inventory, NAME, "provision", "--check", "--tags", "facts", seconds=400)
        assert result.status == 0, result.text

    def test_power_cut_keeps_what_was_written(self, machine: DiskMachine) -> None:
        run(machine, "echo kept > kept; sync")
        boot = run(machine, "cat /proc/sys/kernel/random/boot_id")
        machine.cut_power()
        assert not machine.is_on()
        machine.switch_on()
        machine.wait_for_ssh()
        assert run(machine, "cat kept") == "kept\n"
        assert run(machine, "cat /proc/sys/kernel/random/boot_id") != boot
