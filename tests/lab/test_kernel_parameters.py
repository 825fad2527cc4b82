"""Parameters that must not stay on the kernel command line, wherever GRUB's settings have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from lab.simulate import states
from tests.lab.operator import fab, reboot

pytestmark = pytest.mark.extended  # a rig that is rebooted

NAME = "test77"
DROP_IN = "/etc/default/grub.d/50-cloudimg-settings.cfg"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


def test_drop_in_with_a_list_is_edited_and_the_boot_proves_it(target: Rig, inventory: Path) -> None:
    """Ubuntu's cloud images read this file last: what /etc/default/grub has does not count."""
    states.lay(target, "grub-drop-in", "pci=realloc,noaer iommu=soft nomsi=no")
    reboot(target)
    target.run("grep -q 'pci=realloc,noaer iommu=soft' /proc/cmdline")
    result = fab(inventory, NAME, "provision", "--tags", "base,reboot", seconds=400)
    assert result.status == 0, result.text
    result.assert_shows("the kernel command line still has pci=noaer, iommu=soft")
    words = target.run("cat /proc/cmdline").stdout.split()
    assert {"pci=realloc", "nomsi=no"} <= {*words}
    assert not [word for word in words if "noaer" in word or "iommu" in word]
    assert (
        '"console=tty1 console=ttyS0 pci=realloc nomsi=no"' in target.run(f"cat {DROP_IN}").stdout
    )
    again = fab(inventory, NAME, "provision", "--tags", "base,reboot", seconds=400)
    again.assert_shows("changed=0")


def test_entry_of_others_with_such_a_parameter_is_named(target: Rig, inventory: Path) -> None:
    """update-grub does not write this entry, so no setting takes the parameter out of it."""
    target.run(
        "grep -q custom.cfg /boot/grub/grub.cfg ||"
        " echo 'source /boot/grub/custom.cfg' >>/boot/grub/grub.cfg"
    )
    release = target.run("uname -r").stdout.strip()
    (target.root / "boot/grub/custom.cfg").write_text(
        f"menuentry 'Miner' --id miner {{\n linux /boot/vmlinuz-{release} ro pci=noaer\n}}\n"
        "set default=miner\n"
    )
    result = fab(inventory, NAME, "provision", "--tags", "base,reboot", seconds=400)
    target.run("rm /boot/grub/custom.cfg")
    assert result.status == 2
    result.assert_shows("The boot menu's default still has pci=noaer", "/boot/grub/custom.cfg")


def test_words_that_keep_the_driver_away_are_taken_out_and_come_back(
    make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    words = "modprobe.blacklist=nouveau,nvidia vfio-pci.ids=10de:2204,1b21:0612"
    rig = make_rig("test94", flavour="clean")
    inventory = write_inventory(rig)
    states.lay(rig, "grub-drop-in", words)
    reboot(rig)
    before = rig.run(f"cat {DROP_IN}").stdout
    assert words in before
    result = fab(inventory, rig.name, "provision", "--tags", "base,reboot", seconds=400)
    assert result.status == 0, result.text
    result.assert_shows(
        "the run takes modprobe.blacklist=nvidia, vfio-pci.ids=10de:2204 out of GRUB's settings"
    )
    running = rig.run("cat /proc/cmdline").stdout.split()
    assert {"modprobe.blacklist=nouveau", "vfio-pci.ids=1b21:0612"} <= {*running}
    assert not [word for word in running if "nvidia" in word or "10de" in word]
    fab(inventory, rig.name, "provision", "--tags", "base,reboot").assert_shows("changed=0")
    result = fab(inventory, rig.name, "restore", seconds=400)
    assert result.status == 0, result.text
    assert rig.run(f"cat {DROP_IN}").stdout == before
    reboot(rig)
    assert words in rig.run("cat /proc/cmdline").stdout
    rig.discard()
