"""A rig in a few lines."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.boundary.facts import GatheredFacts, RigFacts
from provision.discovery import summary

MODELS: dict[str, summary.GpuRow] = {"2204": {"name": "GeForce RTX 3090"}}


SIGN = {"kind": "user", "name": "toor is root", "evidence": "/etc/passwd"}
KERNEL = {"release": "5.15.0", "command_line": ["ro"]}


def facts(**changes: Any) -> GatheredFacts:
    rig: dict[str, Any] = {
        "mining_os": {"name": "HiveOS", "evidence": ["/hive/bin"], "missing": ["package hive"]},
        "kernel": {
            "release": "5.15.0",
            "command_line": ["ro", "pci=nomsi,noaer"],
            "boot": {"loader": "grub", "next": None, "kernels": []},
        },
        "rental": [],
        "taken_over": {"signs": [], "recorded": []},
        "board": {"vendor": "ASRock", "name": "B450 Steel Legend"},
        "cpu": {"model": "Ryzen 5 1600", "threads": 12},
        "memory": {"total_mib": 3936, "swap_total_mib": 0},
        "root_disk": {"size_bytes": 120e9, "free_bytes": 60.4e9},
        "gpus": [
            {"device_id": "2204", "path_width": 1, "path_speed_max_gts": 8.0},
            {"device_id": "2204", "path_width": 1, "path_speed_max_gts": 5.0},
            {"device_id": "2204", "path_width": 1, "path_speed_max_gts": 5.0},
            {"device_id": "ffff", "path_width": None, "path_speed_max_gts": None},
        ],
        "driver": {
            "loaded_version": "535.1",
            "loaded_flavour": "proprietary",
            "library_version": "535.1",
            "library_owner": "runfile",
            "nouveau_loaded": False,
        },
        "software": {"cuda": None, "nccl": None, "torch": "2.13.0"},
        "miners": [
            {"kind": "process", "name": "lolMiner", "evidence": "pid 77"},
            {"kind": "autologin", "name": "root", "evidence": "/etc/x.conf"},
        ],
        "surroundings": [],
    }
    rig.update(changes)
    return {
        "ansible_distribution": "Debian",
        "ansible_distribution_version": "12",
        "ansible_local": {"deeprig": cast(RigFacts, rig)},
    }


@pytest.mark.parametrize(
    ("changes", "label", "value"),
    [
        ({}, "system", "HiveOS on Debian 12\n(by /hive/bin; partly removed: no package hive)"),
        ({"mining_os": None}, "system", "Debian 12"),
        (
            {"mining_os": None, "rental": [{"name": "vast.ai", "evidence": ["/var/lib/x"]}]},
            "system",
            "Debian 12\na host of vast.ai (by /var/lib/x)",
        ),
        (
            {"mining_os": None, "taken_over": {"signs": [], "recorded": [SIGN]}},
            "system",
            "Debian 12\nonce taken over (/etc/passwd: toor is root)",
        ),
        (
            {"kernel": {**KERNEL, "boot": {"next": {"release": "6.9.12-sm6"}}}},
            "kernel",
            "5.15.0, next boot: 6.9.12-sm6",
        ),
        ({}, "kernel", "5.15.0, PCIe errors hidden (pci=noaer)"),
        ({}, "disk", "120 GB, 60 free"),
        (
            {},
            "GPUs",
            "1 x GeForce RTX 3090, x1 at up to 8 GT/s\n"
            "2 x GeForce RTX 3090, x1 at up to 5 GT/s\n1 x NVIDIA ffff, x?",
        ),
        ({"gpus": []}, "GPUs", "none on the PCIe bus"),
        ({}, "driver", "535.1 proprietary, from a .run file"),
        ({"driver": {"nouveau_loaded": True}}, "driver", "nouveau"),
        ({"driver": {"nouveau_loaded": False, "loaded_version": None}}, "driver", "none loaded"),
        ({}, "CUDA", "none"),
        ({}, "PyTorch", "2.13.0"),
        ({}, "miners", "lolMiner running; 1 more place that starts things by itself"),
        ({"miners": []}, "miners", "none"),
        (
            {
                "surroundings": [
                    {
                        "kind": "link",
                        "name": "/hive/x",
                        "evidence": "/lib/systemd/system/x.service",
                    },
                    {"kind": "log purger", "name": "find", "evidence": "/etc/crontab"},
                    {"kind": "hosts pin", "name": "a.pool.example", "evidence": "/etc/hosts"},
                    {"kind": "hosts pin", "name": "b.pool.example", "evidence": "/etc/hosts"},
                ]
            },
            "around them",
            "log purger, hosts pin (2), unit that leads into a mining system",
        ),
    ],
)
def test_summary_row_describes_the_facts(changes: dict[str, Any], label: str, value: str) -> None:
    assert dict(summary.summarize_facts(facts(**changes), MODELS))[label] == value
