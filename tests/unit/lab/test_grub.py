"""The lab's boot loader boots the entry that the settings name."""

from __future__ import annotations

import pytest

from lab.simulate.grub import command_line, disables_aer, forget_next_entry

MENU = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="DEFAULT"
fi
menuentry 'Debian' --class gnu-linux $menuentry_id_option 'simple' {
    linux /boot/vmlinuz-9 root=/dev/sda2 ro quiet
}
submenu 'Advanced' $menuentry_id_option 'advanced' {
    menuentry 'Debian, with Linux 9' --class gnu-linux $menuentry_id_option 'linux-9' {
        linux /boot/vmlinuz-9 root=/dev/sda2 ro quiet
    }
    menuentry 'Debian, with Linux 6' --class gnu-linux $menuentry_id_option 'linux-6' {
        linux /boot/vmlinuz-6 root=/dev/sda2 ro quiet
    }
}
"""


@pytest.mark.parametrize(
    ("default", "environment", "kernel"),
    [
        ("0", "", 9),
        ("1>1", "", 6),
        ("advanced>linux-6", "", 6),
        ("linux-6", "", 9),  # it is not at the top
        ("${saved_entry}", "saved_entry=advanced>linux-6\n", 6),
        ("${saved_entry}", "", 9),
        ("0", "next_entry=Advanced>Debian, with Linux 6\n", 6),
    ],
)
def test_named_entry_boots(default: str, environment: str, kernel: int) -> None:
    line = command_line(MENU.replace("DEFAULT", default), environment)
    assert line == f"BOOT_IMAGE=/boot/vmlinuz-{kernel} root=/dev/sda2 ro quiet"


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        ("ro pci=noaer quiet", True),
        ("ro pci=nomsi,noaer", True),
        ("ro pci=nommconf", True),
        ("ro pcie_ports=compat", True),
        ("ro pci=nomsi,realloc noaer", False),
        ("ro quiet", False),
    ],
)
def test_words_that_keep_the_kernel_from_counting_errors(words: str, hidden: bool) -> None:
    assert disables_aer(words) is hidden


def test_next_entry_counts_for_one_boot() -> None:
    environment = "# GRUB Environment Block\nsaved_entry=0\nnext_entry=a>b\n".ljust(1024, "#")
    after = forget_next_entry(environment)
    assert after.startswith("# GRUB Environment Block\nsaved_entry=0\n#")
    assert len(after) == 1024
