"""deeprig's own facts, from fixture trees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from provision.remote import dpkg
from provision.remote.facts import mining, rig
from provision.remote.facts.network import Address
from provision.remote.facts.tree import Tree
from tests.unit.facts.pcie_tree import gpu_on_a_riser
from tests.unit.modules.rig import create_files, write_packages

SECRET = "0xWALLET-AND-PASSWORD"
KERNEL = "5.15.0-hiveos"
HIVE: dict[str, Any] = {
    "hive/bin/hive": "#!/bin/sh",
    "hive-config/rig.conf": f"RIG_PASSWD={SECRET}\n",
    "etc/default/grub": 'GRUB_DISTRIBUTOR="Hive OS"\n',
    "proc/sys/kernel/osrelease": KERNEL,
    "proc/sys/kernel/random/boot_id": "b00t\n",
    "proc/cmdline": "root=/dev/sda2 net.ifnames=0 pci=noaer\n",
    "proc/self/mounts": "/dev/sda2 / ext4 rw 0 0\n",
    "proc/meminfo": "MemTotal:  8388608 kB\nSwapTotal:  1024 kB\n",
    "proc/cpuinfo": "processor : 0\nmodel name : Celeron\nphysical id : 0\ncore id : 0\n"
    "processor : 1\nmodel name : Celeron\nphysical id : 0\ncore id : 1\n",
    "dev/disk/by-label/HIVE": "",
    "etc/systemd/network/20-ethernet.network": "[Match]\nName=eth0\n",
    "sys/class/net/eth0/address": "aa:bb:cc:dd:ee:ff\n",
    "sys/class/net/lo/address": "00:00:00:00:00:00\n",
    "sys/class/dmi/id/board_name": "B250 MINING EXPERT\n",
    "sys/class/dmi/id/bios_version": "1010\n",
    "sys/bus/usb/devices/1-3/idVendor": "5131\n",
    "sys/bus/usb/devices/1-3/idProduct": "2007\n",
    "sys/bus/usb/devices/1-4/idVendor": "046d\n",
    "sys/bus/usb/devices/1-4/idProduct": "c31c\n",
    "etc/systemd/system/hive.service": f"[Service]\nExecStart=/opt/t-rex/t-rex -w {SECRET}\n",
    "etc/systemd/system/getty@tty1.service.d/a.conf": "ExecStart=-/sbin/agetty --autologin user\n",
    "var/spool/cron/crontabs/root": f"* * * * * /opt/lolMiner --pass {SECRET}\n",
    "etc/rc.local": f"#!/bin/sh\n# ethminer\n/opt/xmrig -u {SECRET}\n",
    "proc/77/comm": "nbminer\n",
    "var/lib/docker/containers/a1/config.v2.json": json.dumps(
        {
            "Name": "/mine",
            "State": {"Running": True},
            "Config": {"Image": "ptrfrll/nv-docker-trex:4", "Cmd": [SECRET]},
        }
    ),
    "run/reboot-required": "",
}
PACKAGES = {"hive": "0.6-226", "nvidia-settings": "535.54"}


def facts(root: Path, files: dict[str, Any], packages: dict[str, Any]) -> dict[str, Any]:
    create_files(root, files)
    write_packages(root, packages)
    database = dpkg.Database((root / "var/lib/dpkg/status").read_text())
    return rig.rig(Tree(str(root)), database, [Address("eth0", "10.0.0.5", 24, "global", "")])


def test_facts_of_a_hiveos_rig(tmp_path: Path) -> None:
    gpu_on_a_riser(tmp_path / "sys")
    rig = facts(tmp_path, HIVE, PACKAGES)
    assert rig["boot_id"] == "b00t"
    assert rig["mining_os"]["key"] == "hiveos"
    assert rig["mining_os"]["evidence"] == [
        "/hive/bin",
        "/hive-config/rig.conf",
        "package hive",
        f"kernel {KERNEL}",
        "file system label HIVE",
        'GRUB_DISTRIBUTOR="Hive OS" in /etc/default/grub',
    ]
    assert {(m["kind"], m["name"]) for m in rig["miners"]} == {
        ("unit", "hive.service"),
        ("autologin", "user"),
        ("cron", "lolMiner"),
        ("rc.local", "xmrig"),
        ("process", "nbminer"),
        ("docker", "mine"),
    }
    assert SECRET not in json.dumps(rig)
    assert rig["usb_watchdogs"] == [
        {
            "id": "5131:2007",
            "sysfs": "/sys/bus/usb/devices/1-3",
            "product": "relay watchdog",
            "sure": True,
        }
    ]
    assert rig["network"] == {
        "interfaces": [{"name": "eth0", "mac": "aa:bb:cc:dd:ee:ff", "addresses": ["10.0.0.5/24"]}],
        "ifnames_needed_by": ["/etc/systemd/network/20-ethernet.network"],
    }
    assert rig["cpu"] == {"model": "Celeron", "threads": 2, "cores": 2}
    assert rig["memory"] == {"total_mib": 8192, "swap_total_mib": 1}
    assert rig["board"]["name"] == "B250 MINING EXPERT"
    assert rig["board"]["bios_version"] == "1010"
    assert rig["root_disk"]["source"] == "/dev/sda2"
    assert rig["root_disk"]["diskless"] is False
    assert rig["root_disk"]["read_only"] is False
    assert rig["kernel"]["command_line"] == ["root=/dev/sda2", "net.ifnames=0", "pci=noaer"]
    assert rig["kernel"]["headers"] is False
    assert rig["secure_boot"] is None
    assert rig["reboot_required"] is True
    (gpu,) = rig["gpus"]
    assert (gpu["address"], gpu["path_width"]) == ("0000:03:00.0", 1)
    assert gpu["root_port"] == "0000:00:1c.0"
    assert gpu["path"][0] == {
        "address": "0000:00:1c.0",
        "kind": "root port",
        "vendor_id": "8086",
        "device_id": "a2e7",
        "current_width": 1,
        "max_width": 1,
        "current_speed_gts": 8.0,
        "max_speed_gts": 8.0,
        "errors": None,
    }
    assert rig["board"]["efi"] is False
    assert rig["board"]["nvme"] == []


def test_facts_of_an_empty_tree(tmp_path: Path) -> None:
    rig = facts(tmp_path, {}, {})
    assert rig["mining_os"] is None
    assert rig["miners"] == []
    assert rig["gpus"] == []
    assert rig["driver"]["loaded_version"] is None
    assert rig["reboot_required"] is False


@pytest.mark.parametrize(
    ("key", "files"),
    [
        ("msos", ["home/minerstat/minerstat-os/core"]),
        ("smos", ["root/config.txt", "root/xminer.sh"]),
        ("mmpos", ["opt/mmp/bin/agent"]),
        ("ethos", ["opt/ethos/bin/x"]),
        ("nhos", ["dev/disk/by-label/NHOS"]),
        ("raveos", ["usr/lib/python3/dist-packages/ravinos/x.py"]),
        (None, ["root/config.txt"]),
        (None, ["dev/disk/by-label/HIVE"]),  # all that a converted rig may keep
    ],
)
def test_mining_system_is_recognised_by_its_files(
    tmp_path: Path, key: str | None, files: list[str]
) -> None:
    create_files(tmp_path, dict.fromkeys(files, ""))
    mining_os = mining.mining_os(Tree(str(tmp_path)), dpkg.Database(""))
    assert (mining_os and mining_os["key"]) == key


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("tmpfs / tmpfs rw 0 0", True),
        ("10.0.0.1:/rig / nfs4 rw 0 0", True),
        ("tmpfs /cow tmpfs rw 0 0\noverlay / overlay rw,upperdir=/cow/up,workdir=/cow/w 0 0", True),
        ("/dev/sda1 /cow ext4 rw 0 0\noverlay / overlay rw,upperdir=/cow/up 0 0", False),
        ("rootfs / rootfs rw 0 0\n/dev/nvme0n1p2 / ext4 rw 0 0", False),
    ],
)
def test_diskless_root_is_recognised(tmp_path: Path, mounts: str, expected: bool) -> None:
    create_files(tmp_path, {"proc/self/mounts": f"{mounts}\n"})
    assert rig.root_disk(Tree(str(tmp_path)))["diskless"] is expected


OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x)\n"
    "GCC version:  gcc version 12.2.0\n"
)
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 UTC 2023\n"
LIBRARIES = "usr/lib/x86_64-linux-gnu"


@pytest.mark.parametrize(
    ("text", "version", "flavour"),
    [(OPEN, "580.65.06", "open"), (PROPRIETARY, "535.129.03", "proprietary")],
)
def test_driver_facts(tmp_path: Path, text: str, version: str, flavour: str) -> None:
    files = {
        "proc/driver/nvidia/version": text,
        "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
        "etc/ld.so.conf.d/x.conf": f"# {version}\n/{LIBRARIES}\n",
        f"{LIBRARIES}/libnvidia-ml.so.1": {"link": "libnvidia-ml.so.535.54.03"},
        f"{LIBRARIES}/libnvidia-ml.so.535.54.03": "",
        "sys/module/nouveau/x": "",
        "usr/bin/nvidia-uninstall": "",
        "sys/firmware/efi/efivars/SecureBoot-8be4df61": "\6\0\0\0\1",
        f"lib/modules/{KERNEL}/build/Makefile": "",
        "proc/sys/kernel/osrelease": KERNEL,
        "var/lib/dpkg/alternatives/nvidia": "manual\n/usr/lib/nvidia/nvidia\n\n",
        "etc/alternatives/nvidia": {"link": "/usr/lib/nvidia/tesla-470"},
        "var/lib/dpkg/alternatives/glx": "auto\n/usr/lib/glx\n\n",
        "etc/alternatives/glx": {"link": "/usr/lib/nvidia"},
    }
    rig = facts(tmp_path, files, {"nvidia-driver-580": "580.65.06-0ubuntu1", "bash": "5"})
    assert rig["driver"] == {
        "loaded_version": version,
        "loaded_flavour": flavour,
        "library_version": "535.54.03",
        "library_owner": "runfile",
        "package_versions": {"nvidia-driver-580": "580.65.06-0ubuntu1"},
        "packages": [
            {
                "name": "nvidia-driver-580",
                "version": "580.65.06-0ubuntu1",
                "state": "installed",
                "origin": "local",
            }
        ],
        "alternatives": [
            {"name": "glx", "by_hand": False, "value": "/usr/lib/nvidia"},
            {"name": "nvidia", "by_hand": True, "value": "/usr/lib/nvidia/tesla-470"},
        ],
        "nouveau_loaded": True,
        "runfile_uninstaller": "/usr/bin/nvidia-uninstall",
    }
    assert rig["secure_boot"] is True
    assert rig["kernel"]["headers"] is True
    owned = {
        "var/lib/dpkg/info/libnvidia-compute-535:amd64.list": (
            f"/.\n/{LIBRARIES}/libnvidia-ml.so.535.54.03\n"
        )
    }
    rig = facts(tmp_path, owned, {})
    assert rig["driver"]["library_owner"] == "package"


def test_facts_run_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "provision.remote.facts"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["boot_id"]


def test_software_versions_are_read(tmp_path: Path) -> None:
    site = "opt/deeprig/venv/lib/python3.11/site-packages"
    files = {f"{site}/torch-2.13.0+cpu.dist-info/METADATA": "", f"{site}/torchgen/x.py": ""}
    versions = {
        "cuda-minimal-build-12-8": "12.8.1-1",
        "cuda-toolkit-13-0": "13.0.2-1",
        "cuda-toolkit-13-0-config-common": "13.0.96-1",
        "libnccl2": "2.29.7-1+cuda13.2",
    }
    software = facts(tmp_path / "a", files, versions)["software"]
    assert software == {
        "cuda": "13.0.2-1",
        "cuda_packages": {"cuda-toolkit-13-0": "13.0.2-1", "cuda-minimal-build-12-8": "12.8.1-1"},
        "nccl": "2.29.7-1+cuda13.2",
        "torch": "2.13.0+cpu",
    }
    nothing = facts(tmp_path / "b", {}, {})["software"]
    assert nothing == {"cuda": None, "cuda_packages": {}, "nccl": None, "torch": None}
