"""What `fab upgrade` would change, and what it refuses (playbooks/vars/upgrade.yml)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.playbooks.test_package_choice import DEBIAN12, installed, offers
from tests.unit.playbooks.test_rig_variables import AMPERE, PASCAL, value

KERNEL = {"release": "6.1", "default": True, "bootable": True, "headers": True}


def rig(
    version: str = "580.95.05-1", package: str = "nvidia_open_580", **more: Any
) -> dict[str, Any]:
    """A provisioned rig with that driver, and changes of its facts."""
    facts: dict[str, Any] = installed(**{package: version})
    facts["kernels"] = [KERNEL]
    facts["software"] = {
        "torch": "2.13.0",
        "nccl": "2.29.7-1+cuda13.2",
        "cuda_packages": {"cuda-minimal-build-13-0": "13.0.2-1"},
    }
    facts["driver"]["packages"] = [{"name": "libcuda1", "version": version, "state": "installed"}]
    return {**facts, **offers(DEBIAN12), **more}


def changes(gpus: tuple[str, ...], facts: dict[str, Any]) -> dict[str, tuple[str, str]]:
    rows: list[dict[str, str]] = value("upgrade_rows", *gpus, inventory_hostname="rig", **facts)
    return {
        row["what"]: (row["before"], row["after"]) for row in rows if row["before"] != row["after"]
    }


NEWEST = {"nvidia_driver_version": "newest"}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, {}),
        (NEWEST, {"NVIDIA driver": ("580.95.05-1", "580.126.20-1")}),
        (
            {**NEWEST, "nvidia_driver_branch": "590"},
            {"NVIDIA driver": ("580.95.05-1", "590.48.01-1")},
        ),
        (
            {"nvidia_driver_branch": "580", "nvidia_driver_version": "580.126.20"},
            {"NVIDIA driver": ("580.95.05-1", "580.126.20-1")},
        ),
        ({"nvidia_driver_branch": "580", "nvidia_driver_version": "580.95.05"}, {}),
        ({"torch_requirement": "torch==2.14.0"}, {"PyTorch": ("2.13.0", "2.14.0")}),
        ({"torch_requirement": "torch == 2.13.0"}, {}),
    ],
)
def test_plan_has_what_differs(settings: dict[str, Any], wanted: dict[str, Any]) -> None:
    facts = rig(**settings)
    assert changes((AMPERE,) * 3, facts) == wanted
    assert value("upgrade_refusals", *(AMPERE,) * 3, inventory_hostname="rig", **facts) == []


@pytest.mark.parametrize(
    ("gpus", "facts", "reason"),
    [
        ((AMPERE,), rig(nvidia_driver_branch="700"), "do not have driver branch 700"),
        (
            (AMPERE,),
            rig(nvidia_driver_branch="580", nvidia_driver_version="580.1.1"),
            "580.126.20-1",
        ),
        ((AMPERE,), rig(nvidia_driver_branch="570"), "branch 570 is too old"),
        (
            (PASCAL,),
            rig(package="cuda_drivers_580", nvidia_driver_branch="590"),
            "580 is the last branch",
        ),
        ((AMPERE,), rig(miners=[{"kind": "process", "name": "t-rex"}]), "the rig mines"),
        (
            (AMPERE,),
            rig(**NEWEST, kernels=[{**KERNEL, "headers": False}]),
            "the kernel 6.1, which boots next, has no headers",
        ),
        ((AMPERE,), rig(driver={**rig()["driver"], "package_versions": {}}), "no driver"),
    ],
)
def test_what_cannot_work_is_refused(
    gpus: tuple[str, ...], facts: dict[str, Any], reason: str
) -> None:
    refusals = value("upgrade_refusals", *gpus, inventory_hostname="rig", **facts)
    assert any(reason in why for why in refusals), refusals


def test_files_of_what_changes_are_kept() -> None:
    assert value("upgrade_kept_packages", AMPERE, **rig()) == [
        "libcuda1",
        "libnccl2",
        "libnccl-dev",
    ]
