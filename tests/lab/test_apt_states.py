"""apt and dpkg as others leave them: `fab assess` names it, `fab provision` repairs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from provision.inventory import hosts as inventories
from tests.lab.operator import fab, write_playbook

NAME = "test75"
STEPS = ("--tags", "demine,base")
LISTS = "/var/lib/apt/lists"


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Rig:
    return make_rig(NAME, flavour="clean")


def assess(inventory: Path) -> dict[str, Any]:
    result = fab(inventory, NAME, "assess", "--json")
    assert result.status == 0, result.text
    document: dict[str, Any] = json.loads(result.stdout)[NAME]
    return document


def repairs(inventory: Path) -> dict[str, str]:
    return {row["subject"]: row["reading"] for row in assess(inventory)["repairs"]}


def build_package(rig: Rig, name: str, version: str, script: str, depends: str = "") -> None:
    """Build a package with a postinst in the rig, and let dpkg install it as far as it comes."""
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <t@x.example>\n"
    )
    control += f"Depends: {depends}\n" if depends else ""
    folder = rig.root / "root/packages" / name / "DEBIAN"
    folder.mkdir(parents=True)
    (folder / "control").write_text(f"{control}Description: a test\n")
    (folder / "postinst").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "postinst").chmod(0o755)
    rig.run(f"cd /root/packages && dpkg-deb --build {name} && dpkg -i {name}.deb", check=False)


def states(rig: Rig) -> list[str]:
    return rig.run("dpkg --audit").stdout.split()


def test_a_rig_with_its_base_needs_no_repair(target: Rig, inventory: Path) -> None:
    assert set(repairs(inventory)) <= {"components", "next-kernel"}
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert repairs(inventory) == {}
    apt = assess(inventory)["facts"]["apt"]
    assert apt["lists_missing"] == []
    assert apt["lists_age_seconds"] < 600
    fab(inventory, NAME, "provision", *STEPS, seconds=400).assert_shows("changed=0")


@pytest.mark.extended
def test_half_configured_driver_of_another_branch_is_removed(target: Rig, inventory: Path) -> None:
    build_package(target, "nvidia-dkms-535", "535.247.01-0ubuntu1", "echo no module >&2; exit 10")
    build_package(
        target, "nvidia-driver-535", "535.247.01-0ubuntu1", "exit 0", depends="nvidia-dkms-535"
    )
    assert "nvidia-dkms-535" in states(target)
    broken = target.run("apt-get -y install python3-packaging", check=False)
    assert broken.returncode == 100
    words = repairs(inventory)["unfinished"]
    assert "nvidia-dkms-535 535.247.01-0ubuntu1 (half-configured)" in words
    assert "nvidia-driver-535 535.247.01-0ubuntu1 (unpacked)" in words
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    result.assert_shows(
        "What the run repairs", "nvidia-dkms-535 535.247.01-0ubuntu1 (half-configured)"
    )
    assert states(target) == []
    assert "nvidia-dkms-535" not in target.run("dpkg-query -W").stdout
    fab(inventory, NAME, "provision", *STEPS, seconds=400).assert_shows("changed=0")


def test_package_that_can_be_finished_is_finished(target: Rig, inventory: Path) -> None:
    build_package(target, "nvidia-dkms-580", "580.95.05-0ubuntu1", "test -e /root/headers")
    assert "nvidia-dkms-580" in states(target)
    target.run("touch /root/headers")
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert states(target) == []
    assert "nvidia-dkms-580" in target.run("dpkg-query -W").stdout
    target.run("dpkg --purge nvidia-dkms-580")


def test_package_of_others_that_cannot_be_finished_is_named(target: Rig, inventory: Path) -> None:
    build_package(target, "owners-tool", "1.0", "echo the database is gone >&2; exit 1")
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 2
    result.assert_shows("dpkg can't finish owners-tool 1.0 (half-configured)", "dpkg --purge NAME")
    target.run("dpkg --purge owners-tool")


@pytest.mark.extended
def test_lists_of_a_power_cut_are_fetched_again(target: Rig, inventory: Path) -> None:
    """The folder and apt's stamp have today's date; the headers are in the repository."""
    target.run(
        f"rm -r {LISTS}; mkdir -p {LISTS}/partial /var/lib/apt/periodic;"
        " touch /var/lib/apt/periodic/update-success-stamp;"
        " dpkg --purge --force-depends linux-headers-$(uname -r);"
        " rm -rf /lib/modules/$(uname -r)/build"
    )
    release = target.run("uname -r").stdout.strip()
    assert target.run(f"apt-cache madison linux-headers-{release}").stdout == ""
    assert release in repairs(inventory)["next-kernel"]
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert target.run(f"test -e /lib/modules/{release}/build", check=False).returncode == 0
    assert target.run("uname -r").stdout.strip() == release
    # A list that was cut off passes for fresh no more than a missing one.
    target.run(f"for file in {LISTS}/*Packages; do truncate -s -10 $file; done")
    assert assess(inventory)["facts"]["apt"]["lists_missing"]
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert assess(inventory)["facts"]["apt"]["lists_missing"] == []


@pytest.mark.extended
def test_blacklisted_driver_is_found_and_the_line_commented_out(
    target: Rig, inventory: Path
) -> None:
    target.run(
        "printf '# mine\\nblacklist nvidia\\noptions loop max_loop=8\\n'"
        " >/etc/modprobe.d/headless.conf;"
        "mkdir -p /usr/local/lib/modprobe.d;"
        "echo 'install nvidia_uvm /bin/false' >/usr/local/lib/modprobe.d/packaged.conf"
    )
    words = repairs(inventory)["module-settings"]
    assert "/etc/modprobe.d/headless.conf:2 (blacklist nvidia)" in words
    assert "/usr/local/lib/modprobe.d/packaged.conf:1" in words
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    result.assert_shows("/etc/modprobe.d/headless.conf:2 (blacklist nvidia)")
    text = target.run("cat /etc/modprobe.d/headless.conf /etc/modprobe.d/packaged.conf").stdout
    assert text == (
        "# mine\n# deeprig: blacklist nvidia\noptions loop max_loop=8\n"
        "# deeprig: install nvidia_uvm /bin/false\n"
    )
    assert repairs(inventory) == {}
    fab(inventory, NAME, "provision", *STEPS, seconds=400).assert_shows("changed=0")


@pytest.mark.extended
def test_entry_of_the_vendors_repository_beside_ours(target: Rig, inventory: Path) -> None:
    """The state in which an earlier run left apt: it refuses every command."""
    settings = inventories.read_inventory(inventory).host(NAME).variables
    url, key_url = settings["nvidia_repository_url"], settings["nvidia_repository_key_url"]
    fingerprint = settings["nvidia_repository_key_fingerprint"]
    keyring = f"/usr/share/keyrings/nvidia-pinned-{fingerprint}.asc"
    target.run(
        f"curl -so {keyring} {key_url}; cp {keyring} /usr/share/keyrings/cuda-archive-keyring.gpg;"
        f" printf 'Types: deb\\nURIs: {url}\\nSuites: /\\nSigned-By: {keyring}\\n'"
        " >/etc/apt/sources.list.d/nvidia.sources;"
        f" echo 'deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] {url} /'"
        " >/etc/apt/sources.list.d/cuda-debian12-x86_64.list;"
        f" printf 'Types: deb\\nURIs: {url}\\nSuites: /\\n' >/etc/apt/sources.list.d/gpu.sources"
    )
    refused = target.run("apt-get -s install less", check=False)
    assert "Conflicting values set for option Signed-By" in refused.stderr
    assert "cuda-debian12-x86_64.list:1" in repairs(inventory)["vendor-entries"]
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert target.run("apt-get -s install less").returncode == 0
    assert "vendor-entries" not in repairs(inventory)
    target.run(
        "cd /etc/apt/sources.list.d; rm nvidia.sources cuda-debian12-x86_64.list gpu.sources"
    )


def test_dead_repository_is_named_beforehand(target: Rig, inventory: Path) -> None:
    dead = "deb [trusted=yes] http://127.0.0.9:9/mining ./"
    target.run(f"echo '{dead}' >/etc/apt/sources.list.d/dead.list")
    words = repairs(inventory)
    assert "http://127.0.0.9:9/mining" in words["repositories"]
    assert "Could not connect" in words["repositories"]
    assert target.run("ls -d /run/deeprig.* /dev/shm/deeprig.*", check=False).stdout == ""
    target.run("rm /etc/apt/sources.list.d/dead.list")


def test_words_that_keep_the_driver_away_are_announced_and_taken_out(
    target: Rig, inventory: Path
) -> None:
    target.run("cp /etc/default/grub /root/grub; echo >>/etc/default/grub")
    target.run("echo 'GRUB_CMDLINE_LINUX=\"vfio-pci.ids=10de:2204\"' >>/etc/default/grub")
    lines = target.run("wc -l </etc/default/grub").stdout.strip()
    place = f"/etc/default/grub:{lines} (vfio-pci.ids=10de:2204)"
    assert place in repairs(inventory)["module-parameters"]
    result = fab(inventory, NAME, "provision", *STEPS, seconds=400)
    assert result.status == 0, result.text
    assert target.run("tail -n 1 /etc/default/grub").stdout == 'GRUB_CMDLINE_LINUX=""\n'
    target.run("mv /root/grub /etc/default/grub")


HOLD = (
    "systemd-run --unit={unit} -q python3 -c 'import fcntl, time;"
    ' stream = open("/var/lib/dpkg/lock-frontend", "w"); fcntl.lockf(stream, fcntl.LOCK_EX);'
    ' open("/run/{unit}", "w"); time.sleep({seconds})\';'
    " until [ -e /run/{unit} ]; do sleep 0.1; done"
)


@pytest.mark.extended
def test_lock_of_another_process_is_named_and_waited_for(
    target: Rig, inventory: Path, tmp_path: Path
) -> None:
    task: dict[str, Any] = {
        "name": "Package",
        "ansible.builtin.apt": {"name": "dkms", "lock_timeout": 3},
    }
    target.run("dpkg --purge --force-depends dkms")
    target.run(HOLD.format(unit="upgrade", seconds=60))
    words = repairs(inventory)["lock"]
    assert "python3 (process " in words
    assert "/var/lib/dpkg/lock-frontend" in words
    refused = fab(inventory, NAME, "play", write_playbook(tmp_path, task))
    assert refused.status == 2
    refused.assert_shows("python3 (process ", "has locked /var/lib/dpkg/lock-frontend for 3 s")
    target.run("systemctl stop upgrade")
    # The lock is released while the task waits.
    target.run(HOLD.format(unit="later", seconds=6))
    task["ansible.builtin.apt"]["lock_timeout"] = 600
    result = fab(inventory, NAME, "play", write_playbook(tmp_path, task))
    assert result.status == 0, result.text
    assert target.run("systemctl is-active later", check=False).stdout.strip() != "active"
    assert target.run("dpkg-query -W dkms").stdout
