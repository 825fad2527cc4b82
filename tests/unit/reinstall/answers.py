"""Answers of rigs to playbooks/files/reinstall/survey.sh, for tests."""

from __future__ import annotations

#: A HiveOS rig, as survey.sh prints it. Several rows of a key are apart by a newline.
ROWS = {
    "system": "Ubuntu 18.04.6 LTS\tubuntu\t18.04\t5.10.0-hiveos\tx86_64",
    "running": "-\t",
    "boot_id": "0f0e0d0c-0b0a-4908-8706-050403020100",
    "root": "/dev/sda1\text4\t1111aaaa-0000-4000-8000-000000000001\trw,relatime",
    "device": "sda1\tpart\t28G\nsda\tdisk\t29G",
    "room": "28000000\t20000000",
    "inodes": "1500000",
    "memory": "4000000",
    "boot": "/boot/grub\text4\t1111aaaa-0000-4000-8000-000000000001",
    "grub_cfg": "2\t3",
    "grubenv": "1024",
    "platform": "i386-pc",
    "grub": "2.02-2ubuntu8.23",
    "firmware": "bios\t0",
    "sudo": "free",
    "key": "ssh-ed25519\tAAAAC3operator",
    "interface": "eth0\t02:00:00:00:00:01\tethernet",
    "address": "eth0\t192.168.1.40/24\tdhcp",
    "gateway": "eth0\t192.168.1.1",
    "nameserver": "192.168.1.1",
}


def write(**changed: str) -> str:
    """Return an answer with other rows; an empty one is left out."""
    return "".join(
        f"{key}\t{row}\n"
        for key, rows in {**ROWS, **changed}.items()
        for row in rows.split("\n")
        if row
    )
