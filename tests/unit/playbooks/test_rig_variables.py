"""Variables that the playbooks derive from facts: driver, PyTorch, swap, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.inventory import yaml_source
from provision.inventory.yaml_source import YamlText
from provision.templating.templar import Templar

ROOT = Path(__file__).parents[3]
FILES = (
    "inventory/group_vars/all.yml",
    "inventory/hardware/gpus.yml",
    "playbooks/vars/nvidia.yml",
    "playbooks/vars/rig.yml",
    "playbooks/vars/mining_os.yml",
    "provision/remote/facts/mining_os.json",
    "playbooks/vars/rig_state.yml",
    "playbooks/vars/upgrade.yml",
    "playbooks/vars/downloads.yml",
)
PASCAL, TURING, AMPERE, BLACKWELL = "1b06", "1e04", "2204", "2b85"
GIB = 1024**3
DISK = {
    "size_bytes": 240 * GIB,
    "free_bytes": 200 * GIB,
    "diskless": False,
    "filesystem": "ext4",
    "read_only": False,
    "source": "/dev/sda2",
}

KERNEL: dict[str, Any] = {
    "release": "6.6-hiveos",
    "headers": False,
    "parameters": [],
    "parameters_next": [],
    "boot": {"loader": "grub", "next": None, "kernels": []},
}
SOFTWARE: dict[str, Any] = {"torch": None, "nccl": None, "cuda_packages": {}}
APT: dict[str, Any] = {
    "sources": [],
    "lists_age_seconds": 60,
    "lists_missing": [],
    "pins": [],
    "holds": [],
    "unfinished": [],
    "interrupted": False,
    "lock": None,
}
DRIVER: dict[str, Any] = {
    "package_versions": {},
    "packages": [],
    "alternatives": [],
    "library_version": None,
    "library_owner": None,
    "runfile_uninstaller": None,
}
SIGN = {"kind": "user", "name": "toor is root by another name", "evidence": "/etc/passwd"}
AVAILABLE = [
    *("package ca-certificates", "package gnupg", "package python3-packaging"),
    *("package python3-venv", "offer nvidia-open-580 580.126.20-1"),
    *("offer cuda-minimal-build-13-0 13.0.2-1", "offer libnccl2 2.29.7-1+cuda13.2"),
]


def asked(*lines: str, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the rig's repositories answer: all packages and a kernel, and these lines."""
    packages = [line for line in AVAILABLE if line.split()[1] not in without]
    kernel = ["kernel 5.15.0-125-generic"] if "kernel" not in without else []
    return {
        "repositories": {"stdout_lines": [*lines, "packages asked", *packages, *kernel, "clock 0"]}
    }


def file_systems(**free: float) -> list[dict[str, Any]]:
    """File systems with so many GB free, by the name of their folder."""
    return [
        {"mount": f"/{name}", "free_bytes": size * 1e9, "free_inodes": None}
        for name, size in free.items()
    ]


def suspect(name: str, doubt: str = "name") -> dict[str, Any]:
    """What may be a miner."""
    return {
        "kind": "process",
        "name": name,
        "evidence": "pid 7",
        "signs": ["a name that miners have, too"],
        "doubt": doubt,
    }


def templar(gpus: tuple[str, ...] = (AMPERE,), **changes: Any) -> Templar:
    """The variables of a rig that has these GPUs (PCI device ids)."""
    rig: dict[str, Any] = {
        "gpus": [{"device_id": gpu, "address": f"0000:0{n}:00.0"} for n, gpu in enumerate(gpus)],
        "memory": {"total_mib": 3936, "swap_total_mib": 0},
        "root_disk": DISK,
        "driver": DRIVER,
        "apt": APT,
        "modules": {"settings": []},
        "kernels": [],
        "secure_boot": False,
        "workstation": [],
        "mining_os": None,
        "miners": [],
        "suspects": [],
        "gpu_work": [],
        "access": [],
        "software": SOFTWARE,
        "usb_watchdogs": [],
        "file_systems": [{"mount": "/", "free_bytes": 200 * GIB, "free_inodes": 1 << 20}],
        "taken_over": {"signs": [], "recorded": []},
        "rental": [],
        "kernel": KERNEL,
        "network": {"ifnames_needed_by": []},
    }
    facts = {
        "architecture": "x86_64",
        "distribution": "Ubuntu",
        "distribution_version": "22.04",
        "distribution_release": "jammy",
        "distribution_major_version": "22",
    }
    settings = {name: changes.pop(name) for name in list(changes) if name not in {*rig, *facts}}
    rig.update({name: value for name, value in changes.items() if name in rig})
    facts.update({name: value for name, value in changes.items() if name in facts})
    preflight = yaml_source.load_yaml(ROOT / "playbooks/preflight.yml")[0]["vars"]
    layers = [yaml_source.load_yaml(ROOT / file) for file in FILES]
    rig_facts = {"ansible_facts": {**facts, "ansible_local": {"deeprig": rig}}}
    return Templar([rig_facts, *layers, preflight, settings])


def value(name: str, *gpus: str, **changes: Any) -> Any:
    return templar(gpus or (AMPERE,), **changes).render(YamlText.given(f"{{{{ {name} }}}}"))


@pytest.mark.parametrize(
    ("changes", "directory"),
    [
        ({}, "ubuntu2204"),
        ({"distribution_version": "24.04"}, "ubuntu2404"),
        (
            {
                "distribution": "Debian",
                "distribution_version": "12.9",
                "distribution_major_version": "12",
            },
            "debian12",
        ),
        ({"distribution_version": "26.04"}, "ubuntu2604"),
        (
            {
                "distribution": "Debian",
                "distribution_version": "13.1",
                "distribution_major_version": "13",
            },
            "debian13",
        ),
    ],
)
def test_driver_repository_follows_the_distribution(
    changes: dict[str, str], directory: str
) -> None:
    root = "https://developer.download.nvidia.com/compute/cuda/repos"
    assert value("driver_repository", **changes) == f"{root}/{directory}/x86_64/"
    key, fingerprint = (
        value("driver_repository_key", **changes),
        value("driver_key_fingerprint", **changes),
    )
    assert key.startswith(f"{root}/{directory}/x86_64/")
    # The file is named by the last eight digits of the fingerprint.
    assert key.rpartition("/")[2].removesuffix(".pub").upper() == fingerprint[-8:]


@pytest.mark.parametrize(
    ("gpus", "changes", "mib"),
    [
        ((AMPERE,) * 3, {}, 65536),  # 72 GiB of VRAM against 4 of RAM: the limit
        ((AMPERE,), {}, 24576 - 3936),
        ((AMPERE,), {"memory": {"total_mib": 32000}}, 0),
        ((AMPERE,) * 3, {"root_disk": {"free_bytes": 30 * GIB}}, 10240),  # a third of what is free
        ((AMPERE,), {"swap_size_mib": 256}, 256),
        ((AMPERE,), {"swap_size_mib": 0}, 0),
    ],
)
def test_swap_size_follows_memory_and_disk(
    gpus: tuple[str, ...], changes: dict[str, Any], mib: int
) -> None:
    assert int(value("swap_wanted_mib", *gpus, **changes)) == mib


@pytest.mark.parametrize(
    ("gpus", "changes", "names"),
    [
        ((AMPERE,) * 3, {}, []),
        ((AMPERE,), {"architecture": "aarch64"}, ["architecture"]),
        ((AMPERE,), {"distribution_version": "18.04"}, ["base"]),
        ((AMPERE,), {"distribution_version": "18.04", "nvidia_repository_url": "file:/x"}, []),
        ((AMPERE,), {"root_disk": {**DISK, "diskless": True, "filesystem": "tmpfs"}}, ["diskless"]),
        ((AMPERE,), {"root_disk": {**DISK, "read_only": True}}, ["read-only"]),
        (
            (AMPERE,),
            {"root_disk": {**DISK, "size_bytes": 7.5e9, "free_bytes": 2e9}},
            ["disk", "free-disk"],
        ),
        (
            (AMPERE,),
            {"mining_os": {"key": "raveos", "name": "RaveOS", "evidence": ["x"]}},
            ["mining-system"],
        ),
        (
            (AMPERE,),
            {"mining_os": {"key": "new", "name": "New", "evidence": ["x"]}},
            ["mining-system"],
        ),
        ((AMPERE,), {"mining_os": {"key": "smos", "name": "SMOS", "evidence": ["x"]}}, []),
        ((AMPERE,), {"secure_boot": True}, ["secure-boot"]),
        ((AMPERE,), {"secure_boot": None}, []),
        ((AMPERE,), {"usb_watchdogs": [{"id": "5131:2007", "sure": True}]}, ["usb-watchdog"]),
        ((AMPERE,), {"workstation": ["it has a battery"]}, ["workstation"]),
        ((AMPERE,), {"workstation": ["it has a battery"], "accept_workstation": "true"}, []),
        ((AMPERE,), {"workstation": ["it has a battery"], "yes_really": "true"}, []),
        ((AMPERE,), {"suspects": [suspect("miner")]}, ["suspects"]),
        ((AMPERE,), {"suspects": [suspect("miner")], "mining_kept": ["miner"]}, []),
        ((AMPERE,), {"suspects": [suspect("miner")], "mining_stopped": ["x"]}, ["suspects"]),
        ((AMPERE,), {"suspects": [suspect("miner")], "mining_stopped": ["all"]}, []),
        ((AMPERE,), {"suspects": [suspect("x", "gpu")]}, ["suspects"]),
        (
            (AMPERE,),
            {"suspects": [suspect("x", "gpu")], "software": {**SOFTWARE, "torch": "2.9"}},
            [],
        ),
        (
            (AMPERE,),
            {"gpu_work": [{"kind": "work", "name": "vllm", "evidence": "pid 7"}]},
            ["gpu-work"],
        ),
        ((), {}, ["gpu"]),
        (("0fff",), {}, ["gpu-generation", "torch"]),
        ((PASCAL,), {"nvidia_driver_branch": "590"}, ["driver-branch"]),
        ((BLACKWELL,), {"nvidia_driver_branch": "535"}, ["driver-too-old", "cuda-driver"]),
        ((PASCAL, BLACKWELL), {}, ["driver-flavour", "torch"]),
        ((PASCAL,), {"nvidia_driver_flavour": "open"}, ["driver-flavour"]),
        ((AMPERE,), {"nvidia_driver_branch": "570"}, ["cuda-driver"]),
        (
            (AMPERE,),
            {"rental": [{"key": "x", "name": "vast.ai", "evidence": ["/var/lib/x"]}]},
            ["rental"],
        ),
        ((AMPERE,), {"taken_over": {"signs": [SIGN], "recorded": []}}, ["taken-over"]),
        ((AMPERE,), {"taken_over": {"signs": [], "recorded": [SIGN]}}, []),
        (
            (AMPERE,),
            {"taken_over": {"signs": [SIGN], "recorded": []}, "accept_taken_over": "true"},
            [],
        ),
        ((AMPERE,), {"file_systems": file_systems(boot=0.1)}, ["file-systems"]),
        ((AMPERE,), {"file_systems": file_systems(boot=0.4, var=4, opt=20)}, ["file-systems"]),
        ((AMPERE,), {"file_systems": file_systems(boot=0.4, var=8, srv=0, home=0)}, []),
        (
            (AMPERE,),
            {"file_systems": [{"mount": "/", "free_bytes": 1e12, "free_inodes": 900}]},
            ["inodes"],
        ),
        # What the repositories answered; the kernel with headers runs, or is the distribution's.
        ((AMPERE,), asked(), []),
        ((AMPERE,), asked(without=("kernel",)), ["kernel-headers"]),
        ((AMPERE,), asked("package linux-headers-6.6-hiveos", without=("kernel",)), []),
        ((AMPERE,), {**asked(without=("kernel",)), "kernel": {**KERNEL, "headers": True}}, []),
        (
            (AMPERE,),
            {**asked(), "kernel": {**KERNEL, "boot": {"loader": "", "next": None, "kernels": []}}},
            ["boot-menu"],
        ),
        ((AMPERE,), asked(without=("gnupg", "kernel")), ["repositories"]),
        ((AMPERE,), asked(without=("nvidia-open-580",)), ["vendor-repository"]),
        ((AMPERE,), asked(without=("libnccl2",)), ["vendor-repository"]),
        ((AMPERE,), asked(without=("cuda-minimal-build-13-0",)), ["vendor-repository"]),
        ((AMPERE,), {**asked(without=("cuda-minimal-build-13-0",)), "cuda_toolkit": "none"}, []),
        (
            (AMPERE,),
            asked(
                "failed http://deb.example/x Could not resolve 'deb.example'",
                without=(*(line.split()[1] for line in AVAILABLE), "kernel"),
            ),
            ["dns"],
        ),
        # A dead repository of others stops nothing.
        ((AMPERE,), asked("failed http://ppa.example/x 404  Not Found"), []),
        ((AMPERE,), asked("clock -7200"), ["clock"]),
        ((AMPERE,), asked("clock 200000"), ["clock"]),
        ((AMPERE,), asked("clock 3600"), []),
    ],
)
def test_preflight_lists_the_refusals(
    gpus: tuple[str, ...], changes: dict[str, Any], names: list[str]
) -> None:
    refusals = templar(gpus, **changes).render(YamlText.given("{{ refusals }}"))
    assert [row["name"] for row in refusals if row["bad"]] == names
    assert all(row["why"].strip() for row in refusals if row["bad"])


def test_kernels_of_mining_systems_are_known_by_their_names() -> None:
    rows = [("5.15.0-91-generic", "linux-image-5.15.0-91-generic"), ("6.1.0-hiveos", None)]
    rows += [("5.10.0-hiveos", "linux-image-5.10.0-hiveos")]
    kernels = [{"release": release, "package": package} for release, package in rows]
    packages = templar(kernels=kernels).render(YamlText.given("{{ own_kernels }}"))
    assert packages == ["linux-image-5.10.0-hiveos"]
    assert templar().render(YamlText.given("{{ own_kernels }}")) == []
