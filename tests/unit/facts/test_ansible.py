"""Ansible's facts, from fixture trees and from this machine."""

from __future__ import annotations

import re
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from provision.remote.facts import hardware, network, system
from provision.remote.facts.tree import Tree
from provision.remote.host import ModuleFailure, ModuleHost
from provision.remote.modules import setup
from provision.remote.options import normalize
from tests.unit.modules.rig import create_files

UBUNTU = """NAME="Ubuntu"
VERSION="22.04.4 LTS (Jammy Jellyfish)"
ID=ubuntu
ID_LIKE=debian
PRETTY_NAME="Ubuntu 22.04.4 LTS"
VERSION_ID="22.04"
VERSION_CODENAME=jammy
"""
DEBIAN = 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'


def gather_facts(**options: Any) -> dict[str, Any]:
    facts = setup.run(normalize("setup", setup.OPTIONS, options), ModuleHost())["ansible_facts"]
    assert isinstance(facts, dict)
    return facts


def test_ubuntu_distribution_facts(tmp_path: Path) -> None:
    create_files(tmp_path, {"etc/os-release": UBUNTU})
    facts = system.distribution(Tree(str(tmp_path)))
    assert facts["distribution"] == "Ubuntu"
    assert facts["distribution_version"] == "22.04"
    assert facts["distribution_major_version"] == "22"
    assert facts["distribution_release"] == "jammy"
    assert facts["os_family"] == "Debian"
    assert facts["lsb"]["description"] == "Ubuntu 22.04.4 LTS"


def test_debian_distribution_facts(tmp_path: Path) -> None:
    create_files(tmp_path, {"etc/os-release": DEBIAN, "etc/debian_version": "12.5\n"})
    facts = system.distribution(Tree(str(tmp_path)))
    assert (facts["distribution"], facts["distribution_version"]) == ("Debian", "12.5")
    assert (facts["distribution_major_version"], facts["os_family"]) == ("12", "Debian")


def test_kernel_command_line_facts(tmp_path: Path) -> None:
    files = {
        "proc/cmdline": "quiet console=tty0 console=ttyS0 ro\n",
        "proc/sys/kernel/hostname": "rig1",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 rig1.lan rig1\n",
    }
    create_files(tmp_path, files)
    facts = system.kernel(Tree(str(tmp_path)))
    assert facts["cmdline"] == {"quiet": True, "console": "ttyS0", "ro": True}
    assert facts["proc_cmdline"]["console"] == ["tty0", "ttyS0"]
    assert (facts["hostname"], facts["fqdn"], facts["domain"]) == ("rig1", "rig1.lan", "lan")


def test_processor_facts(tmp_path: Path) -> None:
    lines = []
    for thread in range(8):
        lines += [f"processor : {thread}", "vendor_id : AuthenticAMD", "model name : Ryzen"]
        lines += ["physical id : 0", f"core id : {thread % 4}", ""]
    create_files(tmp_path, {"proc/cpuinfo": "\n".join(lines)})
    facts = hardware.processors(Tree(str(tmp_path)))
    assert facts["processor"][:3] == ["0", "AuthenticAMD", "Ryzen"]
    counts = [facts[f"processor_{n}"] for n in ("count", "cores", "threads_per_core", "vcpus")]
    assert counts == [1, 4, 2, 8]


def test_mount_facts_include_sizes_of_local_file_systems(tmp_path: Path) -> None:
    table = "/dev/sda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\nnas:/x /mnt/a\\040b nfs rw 0 0\n"
    create_files(tmp_path, {"proc/self/mounts": table})
    root, nas = hardware.mounts(Tree(str(tmp_path)))
    assert root["size_total"] > 0
    assert (nas["mount"], "size_total" in nas) == ("/mnt/a b", False)


def test_device_facts(tmp_path: Path) -> None:
    files = {
        "sys/block/sda/size": "1953525168\n",
        "sys/block/sda/device/model": "Samsung SSD\n",
        "sys/block/sda/queue/rotational": "0\n",
        "sys/block/sda/sda1/start": "2048\n",
        "sys/block/sda/sda1/size": "4096\n",
    }
    create_files(tmp_path, files)
    disk = hardware.devices(Tree(str(tmp_path)))["sda"]
    assert (disk["model"], disk["size"], disk["rotational"]) == ("Samsung SSD", "931.51 GB", "0")
    assert disk["partitions"]["sda1"]["size"] == "2.00 MB"


def test_netlink_address_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_indextoname", lambda index: f"eth{index}")
    local = struct.pack("=HH4s", 8, network.IFA_LOCAL, bytes([10, 0, 0, 5]))
    broadcast = struct.pack("=HH4s", 8, network.IFA_BROADCAST, bytes([10, 0, 0, 255]))
    message = struct.pack("=BBBBL", socket.AF_INET, 24, 0, 0, 0) + local + broadcast
    address = network.parse_address(message)
    assert address == network.Address("eth0", "10.0.0.5", 24, "global", "10.0.0.255")


def test_interface_facts_and_the_default_interface(tmp_path: Path) -> None:
    route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
    files = {
        "proc/net/route": f"{route}eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
        "sys/class/net/eth0/address": "aa:bb:cc:dd:ee:ff\n",
        "sys/class/net/eth0/mtu": "1500\n",
        "sys/class/net/eth0/operstate": "up\n",
        "sys/class/net/lo/mtu": "65536\n",
        "etc/resolv.conf": "nameserver 10.0.0.1\nsearch lan\n",
    }
    create_files(tmp_path, files)
    addresses = [
        network.Address("lo", "127.0.0.1", 8, "host", ""),
        network.Address("eth0", "10.0.0.5", 24, "global", "10.0.0.255"),
        network.Address("eth0", "fe80::1", 64, "link", ""),
    ]
    facts = network.network(Tree(str(tmp_path)), addresses)
    assert facts["interfaces"] == ["eth0", "lo"]
    assert facts["all_ipv4_addresses"] == ["10.0.0.5"]
    assert facts["eth0"]["ipv4"]["network"] == "10.0.0.0"
    assert facts["eth0"]["ipv6"] == [{"address": "fe80::1", "scope": "link", "prefix": "64"}]
    default = facts["default_ipv4"]
    assert (default["interface"], default["gateway"]) == ("eth0", "10.0.0.1")
    assert (default["address"], default["macaddress"]) == ("10.0.0.5", "aa:bb:cc:dd:ee:ff")
    assert facts["dns"] == {"nameservers": ["10.0.0.1"], "search": ["lan"]}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"run/systemd/container": "systemd-nspawn"}, ("systemd-nspawn", "guest")),
        ({".dockerenv": ""}, ("docker", "guest")),
        ({"sys/class/dmi/id/sys_vendor": "QEMU"}, ("kvm", "guest")),
        ({"dev/kvm": ""}, ("kvm", "host")),
        ({}, ("NA", "NA")),
    ],
)
def test_virtualization_facts(
    tmp_path: Path, files: dict[str, str], expected: tuple[str, str]
) -> None:
    create_files(tmp_path, files)
    facts = system.virtualization(Tree(str(tmp_path)))
    assert (facts["virtualization_type"], facts["virtualization_role"]) == expected


def test_facts_have_the_names_that_playbooks_use() -> None:
    facts = gather_facts()
    text = """
        all_ipv4_addresses architecture bios_date bios_vendor bios_version board_name board_vendor
        cmdline date_time default_ipv4 devices distribution distribution_major_version
        distribution_release distribution_version env fqdn hostname interfaces kernel local lsb
        memory_mb memtotal_mb mounts nodename os_family pkg_mgr proc_cmdline processor
        processor_cores processor_count processor_nproc processor_threads_per_core processor_vcpus
        product_name python python_version service_mgr swaptotal_mb uptime_seconds user_id user_uid
        virtualization_role virtualization_type
    """
    assert {f"ansible_{name}" for name in text.split()} <= set(facts)
    assert set(facts["ansible_local"]) == {"deeprig"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["ansible_date_time"]["date"])


def test_gather_subset_selects_facts() -> None:
    everything = {"min", "hardware", "network", "local"}
    assert setup.subsets(["all"]) == setup.subsets([]) == everything
    assert setup.subsets(["!all"]) == setup.subsets(["min"]) == {"min", "local"}
    assert setup.subsets(["!all", "!min", "network"]) == {"network"}
    assert setup.subsets(["!hardware"]) == everything - {"hardware"}
    assert setup.subsets(["default_ipv4"]) == {"min", "local", "network"}
    with pytest.raises(ModuleFailure, match="gather_subset has no 'nonsense'"):
        setup.subsets(["nonsense"])


def test_filter_selects_facts_by_name() -> None:
    facts = gather_facts(filter="distribution*,ansible_kernel")
    names = {name for name in facts if name.startswith("ansible_")}
    assert "ansible_kernel" in names
    assert all(name.startswith(("ansible_distribution", "ansible_kernel")) for name in names)


def test_local_facts_are_read_from_files_and_programs(tmp_path: Path) -> None:
    files = {
        "a.fact": '{"x": [1]}',
        "b.fact": "[general]\nname = rig\n",
        "c.fact": {"content": "#!/bin/sh\necho '{\"y\": 2}'\n", "mode": "0755"},
        "d.fact": {"content": "#!/bin/sh\nexit 3\n", "mode": "0755"},
        "deeprig.fact": "{}",
        "readme.txt": "",
    }
    create_files(tmp_path, files)
    facts = gather_facts(fact_path=str(tmp_path), gather_subset=["!all", "!min", "local"])
    local = facts["ansible_local"]
    assert local["a"] == {"x": [1]}
    assert local["b"] == {"general": {"name": "rig"}}
    assert local["c"] == {"y": 2}
    assert "exit status 3" in local["d"]
    assert local["deeprig"]["boot_id"]
