"""The kernel that boots has headers: mining systems bring kernels without, which sort first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from lab.simulate import states
from tests.lab.operator import fab, reboot

pytestmark = pytest.mark.extended  # rigs that are rebooted

MakeRig = Callable[..., Rig]
WriteInventory = Callable[..., Path]
STEPS = ("--tags", "demine,base,reboot")
MINING = "9.9.12-sm6"
#: A mining system's kernel: newer than the distribution's, and without headers.
ADD_KERNEL = f"mkdir -p /lib/modules/{MINING}; echo kernel >/boot/vmlinuz-{MINING}; update-grub"


def release(rig: Rig) -> str:
    """The kernel that runs."""
    return rig.run("uname -r").stdout.strip()


@pytest.mark.parametrize(
    ("name", "flavour", "settings"),
    [
        ("test88", "ubuntu-miner", "GRUB_DEFAULT=0"),
        ("test89", "ubuntu-miner", "GRUB_DEFAULT=saved"),
    ],
)
def test_running_kernel_with_headers_becomes_the_default(
    make_rig: MakeRig, write_inventory: WriteInventory, name: str, flavour: str, settings: str
) -> None:
    rig = make_rig(name, flavour=flavour)
    inventory = write_inventory(rig)
    before = release(rig)
    rig.run(f"echo '{settings}' >>/etc/default/grub; {ADD_KERNEL}")
    result = fab(inventory, name, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    reboot(rig)
    assert release(rig) == before
    again = fab(inventory, name, "provision", *STEPS, seconds=400)
    again.assert_shows("changed=0")

    # The way back: the mining system's kernel boots again.
    result = fab(inventory, name, "restore", seconds=400)
    assert result.status == 0, result.text
    assert rig.run(f"tail -n 1 /etc/default/grub; grep -c {MINING} /boot/grub/grub.cfg").stdout
    reboot(rig)
    assert release(rig) == MINING
    rig.discard()


def test_kernel_without_headers_is_replaced_by_the_distributions(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test70", flavour="smos")
    inventory = write_inventory(rig)
    rig.run(ADD_KERNEL)
    reboot(rig)
    assert release(rig) == MINING
    steps = ("--tags", "demine,base,driver,reboot")
    result = fab(inventory, rig.name, "provision", *steps, seconds=600)
    assert result.status == 0, result.text
    assert release(rig) != MINING
    assert rig.run(f"test -e /lib/modules/{release(rig)}/build", check=False).returncode == 0
    reboot(rig)
    assert release(rig) != MINING
    rig.discard()


def test_rig_that_no_kernel_would_suit_is_refused_before_any_change(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test71", flavour="smos")
    inventory = write_inventory(rig)
    rig.run(ADD_KERNEL)
    reboot(rig)
    # Its menu is not GRUB's: nothing here can choose another kernel.
    rig.run("mv /boot/grub /boot/grub.away")
    result = fab(inventory, rig.name, "provision", *STEPS, seconds=400)
    assert result.status == 2
    result.assert_shows("has no headers", "does not boot by GRUB", "changed=0")
    assert rig.run("test -e /root/xminer.sh; pgrep -c xminer.sh", check=False).stdout.strip() != "0"
    rig.discard()


def test_headers_come_with_later_kernels(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test92", flavour="clean")
    inventory = write_inventory(rig)
    # The kernel of the lab's repository has an entry in the lab's boot menu.
    lists = "/etc/apt/sources.list.d/*.list"
    rig.run(f"sed -i 's/^deb http/#&/' {lists}; apt-get -q update")
    states.lay(rig, "next-kernel", "without-headers")
    rig.run(f"sed -i 's/^#deb http/deb http/' {lists}; apt-get -q update")
    result = fab(inventory, rig.name, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    result.assert_shows("the run installs linux-headers-amd64")
    query = "dpkg-query -W -f '${db:Status-Status} ${Version}\\n'"
    shown = rig.run(f"{query} linux-image-amd64 linux-headers-amd64").stdout.splitlines()
    assert len(shown) == 2
    assert shown[0] == shown[1]
    assert rig.run("test -e /lib/modules/$(uname -r)/build").returncode == 0
    again = fab(inventory, rig.name, "provision", *STEPS, seconds=400)
    again.assert_shows("changed=0")
    rig.discard()
