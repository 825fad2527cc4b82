"""A machine with a disk as its operator has it: an inventory, and commands over SSH."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lab.qemu import disk
from lab.qemu.disk_machine import DiskMachine
from lab.rigs.inventory import FILE
from lab.rigs.machine import network

NAME = "machine"


@contextmanager
def running_machine(folder: Path, firmware: str, number: int) -> Iterator[DiskMachine]:
    """Yield a machine that runs, with Debian as it was installed. number: of its address."""
    if problem := disk.unusable():
        pytest.fail(str(problem), pytrace=False)
    machine = DiskMachine(folder / firmware, f"127.{network()}.77.{number}", firmware)
    machine.create()
    machine.switch_on()
    try:
        machine.wait_for_ssh()
        yield machine
    finally:
        machine.discard()


def write_inventory(machine: DiskMachine, folder: Path, **variables: str | int) -> Path:
    """Write the inventory of the machine's operator; by default the login is by password."""
    (folder / "group_vars").symlink_to(FILE.parent / "group_vars")
    connection = {
        "ansible_host": machine.address,
        "ansible_user": disk.USER,
        "ansible_become_password": disk.PASSWORD,
        "ansible_ssh_known_hosts_file": str(folder / "known_hosts"),
        **(variables or {"ansible_password": disk.PASSWORD}),
    }
    file = folder / "machine.yml"
    file.write_text(yaml.safe_dump({"rigs": {"hosts": {NAME: connection}}}))
    return file


def run(machine: DiskMachine, command: str, key: Path | None = None) -> str:
    """Return what a command prints in the machine, as its user, by password or by key."""
    words = ["ssh", "-q", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]
    if key is None:
        words = ["sshpass", "-p", disk.PASSWORD, *words]
    else:
        words += ["-i", str(key), "-oBatchMode=yes"]
    words += [f"{disk.USER}@{machine.address}", command]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def run_as_root(machine: DiskMachine, command: str, key: Path) -> str:
    """Return what a command prints in the machine, as root: the user's password for sudo stays."""
    script = command.replace("'", "'\\''")
    return run(machine, f"echo {disk.PASSWORD} | sudo -S -p '' sh -c '{script}'", key)
