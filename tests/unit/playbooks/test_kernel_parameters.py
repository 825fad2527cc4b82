"""Parameters that must not stay on the kernel's command line, as the kernel itself reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.readings.command_line import list_parameters
from tests.unit.local import play
from tests.unit.playbooks.test_rig_variables import AMPERE, KERNEL, value

ROOT = Path(__file__).parents[3]
REMOVED = [
    *("modprobe.blacklist=nvidia", "modprobe.blacklist=nvidia-uvm", "vfio-pci.ids=10de:2204"),
    *("vfio-pci.ids=10de:1aef", "pci=noaer", "iommu=soft", "intel_pstate=disable"),
    *("nomodeset", "ipv6.disable=1"),
]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ro quiet", []),
        ("ro pci=noaer", ["pci=noaer"]),
        ("pci=nomsi,noaer iommu=soft", ["pci=noaer", "iommu=soft"]),
        ("pci=noaer,realloc nomodeset", ["pci=noaer", "nomodeset"]),
        ("pci=noaerx nomodesetting iommu=soft2 xpci=noaer ipv6.disable=10", []),
    ],
)
def test_parameters_are_found_alone_and_in_lists(words: str, expected: list[str]) -> None:
    kernel: Any = {**KERNEL, "parameters": list_parameters(words.split())}
    settings = {"kernel_parameters_removed": REMOVED, "kernel": kernel}
    assert value("parameters_running", AMPERE, **settings) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"quiet pci=noaer"', '"quiet "'),
        ('"pci=noaer quiet"', '"quiet"'),
        ('"pci=nomsi,noaer quiet"', '"pci=nomsi quiet"'),
        ('"pci=noaer,nomsi,realloc=on"', '"pci=nomsi,realloc=on"'),
        ("'pci=nomsi,noaer,realloc'", "'pci=nomsi,realloc'"),
        ("pci=nomsi,noaer", "pci=nomsi"),
        ('"pci=noaerx iommu=soft2 xpci=noaer"', '"pci=noaerx iommu=soft2 xpci=noaer"'),
        ('"iommu=soft intel_pstate=disable nomodeset"', '""'),
        ('"modprobe.blacklist=nouveau,nvidia,nvidia-uvm"', '"modprobe.blacklist=nouveau"'),
        ('"quiet modprobe.blacklist=nvidia,nvidia-uvm"', '"quiet "'),
        ('"vfio-pci.ids=10de:2204,1b21:0612,10de:1aef"', '"vfio-pci.ids=1b21:0612"'),
        ('"$GRUB_CMDLINE_LINUX pci=noaer"', '"$GRUB_CMDLINE_LINUX "'),
    ],
)
def test_parameters_are_taken_out_of_the_settings(tmp_path: Path, before: str, after: str) -> None:
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/kernel_parameters.yml").read_text())
    files = [tmp_path / "grub", tmp_path / "50-cloud.cfg"]
    for file in files:
        file.write_text(f"GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT={before}\n")
    listed = {"stdout_lines": [str(file) for file in files]}
    book = [{"name": "x", "hosts": "all", "gather_facts": False, "tasks": tasks[1:]}]
    variables = {"parameter_files": listed, "parameters_removed": REMOVED}
    played = play(yaml.safe_dump(book), tmp_path, variables=variables)
    assert played.counts["failed"] == 0, played.text
    for file in files:
        assert file.read_text() == f"GRUB_TIMEOUT=0\nGRUB_CMDLINE_LINUX_DEFAULT={after}\n"
