"""The lab's boot loader boots the entry that the settings name."""

from __future__ import annotations

import pytest

from lab.simulate.grub import command_line

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
