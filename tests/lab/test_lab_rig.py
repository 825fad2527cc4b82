"""A lab rig is the seed rig as bought, and behaves like a rig."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.build import image
from lab.rigs import machine
from lab.rigs.cgroup import find_groups
from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.operator import fab, reboot, switching


@pytest.fixture
def fault(rig: Rig) -> Iterator[Callable[..., None]]:
    """Switch faults on; they are off again after the test."""
    with switching(rig) as switch:
        yield switch


def read_output(rig: Rig, command: str) -> str:
    return rig.run(command).stdout.strip()


def test_system_runs_without_failed_units(rig: Rig) -> None:
    assert read_output(rig, "systemctl is-system-running --wait") == "running"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("cat /sys/class/dmi/id/board_name", "B450 Steel Legend"),
        ("dmidecode -s baseboard-manufacturer", "ASRock"),
        ("grep -c ^processor /proc/cpuinfo", "12"),
        ("awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo", "3936"),
        ("lspci -d 10de: -nn | grep -c 10de:2204", "3"),
        ("dpkg-query -W -f '${Status}' hive", "install ok installed"),
        ("apt-mark showhold", "nvidia-settings"),
        ("readlink /etc/environment", "/hive/etc/environment"),
        ("readlink /etc/default/grub", "/hive/etc/grub"),
        ("grep -o 'pci=noaer' /proc/cmdline", "pci=noaer"),
        ("grep -c hive/bin /usr/lib/systemd/system/hive.service", "2"),
        ("sysctl -n vm.nr_hugepages", "128"),
        ("findmnt -no SIZE /tmp", "100M"),
        ("nvidia-smi --query-gpu=pcie.link.width.current --format=csv,noheader | uniq", "1"),
        ("nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq", "535.171.04"),
        ("dpkg -S /usr/bin/nvidia-smi 2>/dev/null | wc -l", "0"),
        ("pgrep -cx lolMiner", "1"),
        ("ls /sys/bus/pci/devices/0000:08:00.0/aer_dev_fatal 2>/dev/null | wc -l", "0"),
    ],
)
def test_seed_rig_matches_its_description(rig: Rig, command: str, answer: str) -> None:
    assert read_output(rig, command) == answer


def test_rig_does_not_change_swap_and_sysctl_of_the_host(rig: Rig) -> None:
    before = Path("/proc/swaps").read_text(), Path("/proc/sys/vm/swappiness").read_text()
    swap = "/root/swap"
    rig.run(f"fallocate -l 8M {swap}; chmod 600 {swap}; mkswap {swap}; swapon {swap}")
    rig.run("sysctl vm.swappiness=7")
    assert swap in read_output(rig, "swapon --show=NAME --noheadings")
    assert read_output(rig, "awk '/SwapTotal/ {print $2}' /proc/meminfo") == "8188"
    assert (Path("/proc/swaps").read_text(), Path("/proc/sys/vm/swappiness").read_text()) == before
    rig.run(f"swapoff {swap}; rm {swap}")


def test_host_keys_match_those_of_the_lab(rig: Rig) -> None:
    scan = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", rig.address], capture_output=True, text=True, check=True
    )
    assert scan.stdout.strip() in rig.host_keys()


def test_apt_fails_for_the_dead_hive_repository(rig: Rig) -> None:
    source = "Dir::Etc::sourcelist=/etc/apt/sources.list.d/hiverepo.list"
    done = rig.run(
        f"apt-get update -o {source} -o Dir::Etc::sourceparts=- "
        "-o APT::Get::List-Cleanup=0 -o Acquire::Retries=0 2>&1"
    )
    assert "Failed to fetch" in done.stdout


def test_lost_gpu_fails_in_nvidia_smi_and_sysfs(rig: Rig, fault: Callable[..., None]) -> None:
    fault("lost", "1")
    done = rig.run("nvidia-smi --query-gpu=index --format=csv,noheader", check=False)
    assert "GPU is lost" in done.stdout
    assert done.stdout.splitlines()[0] == "0"
    assert read_output(rig, "cat /sys/bus/pci/devices/0000:06:00.0/current_link_width") == "63"


def test_link_drops_at_both_ends(rig: Rig, fault: Callable[..., None]) -> None:
    fault("link", "2 2x1")
    for device in ("0000:08:00.0", "0000:00:03.1"):
        path = f"/sys/bus/pci/devices/{device}"
        assert read_output(rig, f"cat {path}/current_link_speed") == "5.0 GT/s PCIe"


def test_full_disk_fault_fills_the_disk(rig: Rig, fault: Callable[..., None]) -> None:
    fault("disk-full", "/srv")
    assert rig.run("echo more >/srv/file", check=False).returncode != 0


def test_vendor_repository_serves_driver_packages(rig: Rig, fault: Callable[..., None]) -> None:
    vendor = "/etc/apt/sources.list.d/vendor.list"
    rig.run(
        f"curl -fsSo /root/key.asc {rig.vendor_url}/cuda/key.asc; "
        f"echo 'deb [signed-by=/root/key.asc] {rig.vendor_url}/cuda/ /' >{vendor}"
    )
    only = f"-o Dir::Etc::sourcelist={vendor} -o Dir::Etc::sourceparts=- -o Acquire::Retries=0"
    update = f"apt-get update {only} -o APT::Get::List-Cleanup=0 2>&1"
    policy = "apt-cache policy nvidia-open | awk '/Candidate/ {print $2}'"
    fault("repo-old")
    rig.run(update)
    assert read_output(rig, policy) == "580.82.07-1"
    faults.switch(rig, "repo-old", on=False)
    rig.run(update)
    assert read_output(rig, policy) == "580.95.05-1"
    fault("repo-badsig")
    assert "NO_PUBKEY" in rig.run(update, check=False).stdout
    fault("repo-down")
    assert "Connection refused" in rig.run(update, check=False).stdout
    rig.run(f"rm {vendor}")


def test_wrong_clock_makes_apt_refuse_release_files(rig: Rig, fault: Callable[..., None]) -> None:
    only = (
        "apt-get -q update -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/kernel.list "
        "-o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 2>&1"
    )
    machine_time = time.time()
    fault("clock", "-60d")
    assert machine_time - float(read_output(rig, "date +%s")) == pytest.approx(60 * 86400, abs=30)
    assert "is not valid yet (invalid for another" in rig.run(only, check=False).stdout
    # A program that sets the clock sets that of the rig.
    rig.run(f"date -s @{int(time.time())}")
    assert float(read_output(rig, "date +%s")) == pytest.approx(time.time(), abs=30)
    rig.run(only)
    assert not (rig.root / "etc/ld.so.preload").exists()


def test_rig_cannot_set_the_clock_of_the_machine(rig: Rig) -> None:
    # To the present time: a lab that lets it pass does no harm.
    done = rig.run("date -s @$(date +%s)", check=False)
    assert "Operation not permitted" in done.stderr


def test_removing_hive_can_remove_rig_network(rig: Rig, fault: Callable[..., None]) -> None:
    simulate = "apt-get remove -qs hive | grep ^Remv"
    assert read_output(rig, simulate).split()[1] == "hive"
    fault("hive-cascade")
    assert {line.split()[1] for line in read_output(rig, simulate).splitlines()} == {
        "hive",
        "rig-network",
    }


def test_no_python_fault_removes_python_for_ssh_users(rig: Rig, fault: Callable[..., None]) -> None:
    fault("no-python")
    assert rig.run("runuser -u user -- python3 -V", check=False).returncode != 0


@pytest.fixture(scope="module")
def other(make_rig: Callable[[str], Rig]) -> Rig:
    """A rig that the tests change, one after another."""
    return make_rig("test12")


@pytest.mark.extended
class TestReboots:
    """Tests on another rig, in this order."""

    def test_bios_profile_splits_the_slot(self, other: Rig) -> None:
        other.set(profile="x4x4x4x4")
        before = read_output(other, "cat /proc/sys/kernel/random/boot_id"), other.host_keys()
        reboot(other)
        assert read_output(other, "cat /proc/sys/kernel/random/boot_id") != before[0]
        assert other.host_keys() == before[1]
        query = "nvidia-smi --query-gpu=pcie.link.width.current --format=csv,noheader"
        assert read_output(other, query).split() == ["4", "4", "4"]

    def test_rigs_share_no_control_group(self, rig: Rig, other: Rig) -> None:
        groups = [
            find_groups(Path(f"/proc/{each.leader()}/cgroup").read_text()) for each in (rig, other)
        ]
        assert groups[0]
        assert groups[1]
        assert not set(groups[0]) & set(groups[1])

    def test_watchdog_reboots_when_the_miner_is_gone(self, other: Rig) -> None:
        boots = other.state()["boots"]
        other.run("PATH=$PATH:/hive/bin miner stop")
        other.wait(boots=boots + 1)
        assert read_output(other, "cat /hive-config/watchdog.log").endswith("rebooting")

    def test_driver_needs_headers_then_a_reboot(self, other: Rig) -> None:
        # The rig has just booted: hive must have started before it can be stopped.
        other.run("systemctl is-system-running --wait", check=False)
        other.run(
            "systemctl stop hive-watchdog hive; nvidia-uninstall --silent; "
            "rm /etc/modprobe.d/*.conf /etc/apt/sources.list.d/hiverepo.list; "
            f"curl -fsSo /root/key.asc {other.vendor_url}/cuda/key.asc; "
            f"echo 'deb [signed-by=/root/key.asc] {other.vendor_url}/cuda/ /' "
            ">/etc/apt/sources.list.d/cuda.list; apt-get update 2>&1"
        )
        faults.switch(other, "dkms-strict", on=True)
        done = other.run("apt-get install -qy nvidia-open 2>&1", check=False)
        assert "Your kernel headers for kernel" in done.stdout
        assert done.returncode == 100
        faults.switch(other, "dkms-strict", on=False)
        assert "do not seem to be installed" in other.run("dpkg --configure -a 2>&1").stdout
        other.run("apt-get install -qy linux-headers-$(uname -r) 2>&1")
        assert other.run("nvidia-smi", check=False).returncode == 9
        other.run("update-initramfs -u; sed -i s/pci=noaer// /etc/default/grub; update-grub 2>&1")
        reboot(other)
        query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
        assert read_output(other, query) == "580.95.05"
        assert "Open Kernel Module" in read_output(other, "cat /proc/driver/nvidia/version")
        aer = read_output(other, "cat /sys/bus/pci/devices/0000:00:03.1/aer_dev_correctable")
        assert aer.splitlines()[-1] == "TOTAL_ERR_COR 0"

    def test_nouveau_takes_the_cards_if_the_initramfs_lets_it(self, other: Rig) -> None:
        other.run("rm /usr/lib/modprobe.d/nvidia-kernel-support.conf; update-initramfs -u")
        reboot(other)
        assert "nouveau" in read_output(other, "lsmod")
        assert other.run("nvidia-smi", check=False).returncode == 9

    def test_network_is_lost_with_the_interface_name(self, other: Rig) -> None:
        boots = other.state()["boots"]
        other.run("sed -i s/net.ifnames=0// /etc/default/grub; update-grub; systemctl reboot")
        with pytest.raises(Exception, match="does not answer"):
            other.wait(boots=boots + 1, seconds=8)
        assert "enp5s0" in read_output(other, "ls /sys/class/net")

    def test_discarded_rig_leaves_no_mounts_and_processes(self, other: Rig) -> None:
        pid, leader = other.supervisor(), other.leader()
        groups = find_groups(Path(f"/proc/{leader}/cgroup").read_text())
        other.discard()
        assert not any(group.exists() for group in groups)
        assert "/test12/" not in Path("/proc/mounts").read_text()
        assert not other.folder.exists()
        assert not any(Path(f"/proc/{process_id}").exists() for process_id in (pid, leader))
        assert "test12" not in {rig.name for rig in machine.list_rigs()}


@pytest.fixture
def rig_in_memory(own_network: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A rig whose state is on a tmpfs, below /tmp like the rig's own tmpfs."""
    folder = Path(tempfile.mkdtemp(prefix="deeprig-lab-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    monkeypatch.setenv("DEEPRIG_LAB_STATE", str(folder))
    rig = Rig("test13")
    try:
        rig.up(fresh=True, image=image.ensure("clean"))
        yield rig
        rig.discard()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


def test_rig_keeps_its_disk_when_the_state_folder_is_in_memory(
    rig_in_memory: Rig, write_inventory: Callable[..., Path]
) -> None:
    inventory = write_inventory(rig_in_memory)
    result = fab(inventory, rig_in_memory.name, "facts", "--json")
    facts = json.loads(result.stdout)[rig_in_memory.name]["ansible_local"]["deeprig"]
    assert facts["root_disk"]["filesystem"] == "overlay"
    assert facts["root_disk"]["diskless"] is False
