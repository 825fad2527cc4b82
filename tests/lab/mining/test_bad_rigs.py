"""Difficult rigs: unknown systems, half-removed systems, a read-only root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.mining.rigs import demine, facts, find_mining
from tests.lab.operator import fab, reboot

MakeRig = Callable[..., Rig]
WriteInventory = Callable[..., Path]
TREE = "find /etc /usr /opt /root /var/lib/dpkg -xdev -newer /etc/hostname -type f | sort"


@pytest.mark.parametrize(
    ("flavour", "name", "words"),
    [
        ("nhos", "test29", ("NiceHash NHOS", "/NHOS/configuration.txt", "live image")),
        ("raveos", "test30", ("RaveOS", "ravinos", "internals")),
    ],
)
def test_unsupported_mining_system_is_refused(
    make_rig: MakeRig,
    write_inventory: WriteInventory,
    flavour: str,
    name: str,
    words: tuple[str, ...],
) -> None:
    rig = make_rig(name, flavour=flavour)
    inventory = write_inventory(rig)
    before = rig.run(TREE).stdout
    for command in (("provision",), ("play", "playbooks/demine.yml")):
        result = fab(inventory, name, *command)
        assert result.status != 0
        result.assert_shows(*words, "install Ubuntu 24.04 on an SSD", "changed=0")
    assert rig.run(TREE).stdout == before
    rig.down()


@pytest.fixture(scope="module")
def clean(make_rig: MakeRig) -> Iterator[Rig]:
    rig = make_rig("test31", flavour="clean")
    yield rig
    rig.down()


def test_plain_system_has_no_mining_evidence(clean: Rig, write_inventory: WriteInventory) -> None:
    inventory = write_inventory(clean)
    rig_facts = facts(inventory, clean.name)
    assert (rig_facts["mining_os"], rig_facts["miners"], rig_facts["access"]) == (None, [], [])
    assert demine(inventory, clean.name)["tasks"].keys()
    before = clean.run(TREE).stdout
    assert demine(inventory, clean.name)["changed"] == 0
    assert clean.run(TREE).stdout == before
    result = fab(inventory, clean.name, "facts")
    result.assert_shows("miners   none", "system   Debian")


def test_unknown_gpu_program_is_asked_about_and_never_ended_unasked(
    clean: Rig, write_inventory: WriteInventory
) -> None:
    inventory = write_inventory(clean)
    clean.run(
        "touch /dev/nvidia-uvm; cp /usr/lib/lab-hardware/fake-miner /usr/local/bin/simulate; "
        "setsid /usr/local/bin/simulate </dev/null >/dev/null 2>&1 &"
    )
    seen = facts(inventory, clean.name)
    assert (seen["miners"], [row["kind"] for row in seen["suspects"]]) == ([], ["gpu"])
    refused = fab(inventory, clean.name, "provision", "--tags", "demine")
    assert refused.status != 0
    refused.assert_shows("simulate (pid", "computes on a GPU", "--stop NAME", "--keep NAME")
    kept = fab(inventory, clean.name, "provision", "--tags", "demine", "--keep", "simulate")
    assert kept.status == 0, kept.text
    assert clean.run("pgrep -c simulate").stdout.strip() == "1"
    # What is on the GPU of a deep learning host is its user's.
    site = "/opt/deeprig/venv/lib/python3.11/site-packages"
    clean.run(f"mkdir -p {site}/torch-2.13.0+cpu.dist-info")
    assert demine(inventory, clean.name)["changed"] == 0
    assert clean.run("pgrep -c simulate").stdout.strip() == "1"
    clean.run("rm -r /opt/deeprig")
    stopped = fab(inventory, clean.name, "provision", "--tags", "demine", "--stop", "simulate")
    assert stopped.status == 0, stopped.text
    assert clean.run("pgrep -c simulate || true").stdout.strip() == "0"


def test_miner_in_the_ssh_unit_is_left_to_the_operator(
    make_rig: MakeRig, write_inventory: WriteInventory
) -> None:
    rig = make_rig("test34", flavour="clean")
    inventory = write_inventory(rig)
    rig.run(
        "sed '/^ExecStart=/aExecStartPost=-/bin/sh -c \"exec /opt/xmrig &\"' "
        "/lib/systemd/system/ssh.service >/etc/systemd/system/ssh.service; "
        "cp /usr/lib/lab-hardware/fake-miner /opt/xmrig; systemctl daemon-reload; "
        "systemctl restart ssh"
    )
    result = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert result.status != 0
    result.assert_shows("still here", "/etc/systemd/system/ssh.service", "by hand")
    assert rig.answers()
    assert rig.run("systemctl is-enabled ssh").stdout.strip() == "enabled"
    rig.down()


def test_read_only_root_is_refused(clean: Rig, write_inventory: WriteInventory) -> None:
    inventory = write_inventory(clean)
    faults.switch(clean, "read-only", on=True)
    reboot(clean)
    result = fab(inventory, clean.name, "provision")
    assert result.status != 0
    result.assert_shows("playbooks/preflight.yml", "mounted read-only", "fsck", "changed=0")


@pytest.mark.extended
@pytest.mark.parametrize(
    ("ruin", "missing"),
    [
        # As who read a forum did it: the folder by hand, the package not; and the other way round.
        ("systemctl stop hive-watchdog hive; rm -rf /hive", "/hive/bin"),
        pytest.param(
            "systemctl stop hive-watchdog hive; cp -a /hive /hive.kept; dpkg --purge hive; "
            "mv /hive.kept /hive",
            "package hive",
            marks=pytest.mark.extended,
        ),
    ],
)
def test_partly_removed_mining_system_is_reported_and_removed(
    make_rig: MakeRig, write_inventory: WriteInventory, ruin: str, missing: str
) -> None:
    rig = make_rig("test32")
    inventory = write_inventory(rig)
    rig.run(ruin)
    result = fab(inventory, rig.name, "facts")
    result.assert_shows("partly removed", f"no {missing}")
    result = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert result.status == 0, result.text
    result.assert_shows("partly removed", missing)
    assert demine(inventory, rig.name)["changed"] == 0
    # The boot menu's settings were a link into it, and the network needs what stood there.
    rig.run("update-grub")
    reboot(rig)
    assert rig.run("grep -wo net.ifnames=0 /proc/cmdline").stdout.strip() == "net.ifnames=0"
    assert find_mining(rig) == []
    assert facts(inventory, rig.name)["mining_os"] is None
