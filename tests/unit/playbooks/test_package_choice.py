"""Which driver, CUDA and NCCL are installed, chosen from what the repositories offer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.playbooks.test_rig_variables import AMPERE, BLACKWELL, PASCAL, TURING, value

# As the vendor lists them: names with the branch up to 580, without it from 590 on.
DEBIAN12 = {
    "nvidia-open": ["610.43.02-1", "595.91.07-1", "590.48.01-1", "580.126.20-1", "570.211.01-1"],
    "cuda-drivers": ["610.43.02-1", "595.91.07-1", "590.48.01-1", "580.126.20-1", "570.211.01-1"],
    "nvidia-open-580": ["580.126.20-1", "580.95.05-1"],
    "nvidia-open-570": ["570.211.01-1"],
    "cuda-drivers-580": ["580.126.20-1", "580.95.05-1"],
    "cuda-drivers-570": ["570.211.01-1"],
    "cuda-minimal-build-12-8": ["12.8.1-1"],
    "cuda-minimal-build-13-0": ["13.0.2-1"],
    "cuda-minimal-build-13-2": ["13.2.0-1"],
    "cuda-toolkit-13-0": ["13.0.2-1"],
    "libnccl2": [
        "2.30.7-1+cuda13.2",
        "2.29.7-1+cuda13.2",
        "2.30.4-1+cuda12.9",
        "2.27.3-1+cuda12.4",
    ],
}
DEBIAN13 = {
    "nvidia-open": ["610.43.02-1", "595.91.07-1", "590.48.01-1"],
    "cuda-drivers": ["610.43.02-1", "595.91.07-1", "590.48.01-1"],
    "cuda-minimal-build-13-3": ["13.3.0-1"],
    "cuda-minimal-build-13-1": ["13.1.0-1"],
    "libnccl2": ["2.30.7-1+cuda13.2"],
    "nvidia-kernel-dkms": ["550.163.01-2", "610.43.02-1"],
}
VENDOR = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64"
OTHER = "http://deb.example/debian"
DEBIANS_DRIVER = [
    *("nvidia-kernel-dkms", "nvidia-smi", "nvidia-persistenced", "libcuda1", "libnvidia-ml1")
]
TRIXIE = {
    "distribution": "Debian",
    "distribution_version": "13.1",
    "distribution_major_version": "13",
}


def offers(packages: dict[str, list[str]]) -> dict[str, Any]:
    """What the rig's package lists have, newest first, as a playbook registers it."""
    lines = [
        f"offer {name} {version} {VENDOR if version.startswith('610') else OTHER}"
        for name, versions in packages.items()
        for version in versions
    ]
    return {"offered": {"stdout_lines": lines}}


def installed(**versions: str) -> dict[str, Any]:
    """Driver packages on the rig."""
    return {"driver": {"package_versions": {k.replace("_", "-"): v for k, v in versions.items()}}}


@pytest.mark.parametrize(
    ("gpus", "packages", "changes", "wanted"),
    [
        ((AMPERE,) * 3, DEBIAN12, {}, "nvidia-open-580=580.126.20-1"),
        ((TURING, BLACKWELL), DEBIAN12, {}, "nvidia-open-580=580.126.20-1"),
        ((PASCAL, AMPERE), DEBIAN12, {}, "cuda-drivers-580=580.126.20-1"),
        # No branch in the name from 590 on, and the newest of the branch.
        ((AMPERE,), DEBIAN12, {"nvidia_driver_branch": "590"}, "nvidia-open=590.48.01-1"),
        ((AMPERE,), DEBIAN12, {"nvidia_driver_branch": "610"}, "nvidia-open=610.43.02-1"),
        (
            (AMPERE,),
            DEBIAN12,
            {"nvidia_driver_branch": 570, "torch_requirement": "torch==2.9"},
            "nvidia-open-570=570.211.01-1",
        ),
        # A repository without the preferred branch: the lowest that it has.
        ((AMPERE,), DEBIAN13, TRIXIE, "nvidia-open=590.48.01-1"),
        # What is installed stays, though a newer version is offered.
        (
            (AMPERE,),
            DEBIAN12,
            installed(nvidia_open_580="580.95.05-1"),
            "nvidia-open-580=580.95.05-1",
        ),
        ((AMPERE,), DEBIAN13, installed(nvidia_open="595.71.05-1"), "nvidia-open=595.71.05-1"),
        ((AMPERE,), {}, installed(nvidia_open="595.71.05-1"), "nvidia-open=595.71.05-1"),
        # What is installed and can't drive PyTorch's CUDA, or the cards, goes.
        ((AMPERE,), DEBIAN12, installed(nvidia_open_570="570.1-1"), "nvidia-open-580=580.126.20-1"),
        ((PASCAL,), DEBIAN12, installed(cuda_drivers="590.1-1"), "cuda-drivers-580=580.126.20-1"),
        # The setting wins over what is installed.
        (
            (AMPERE,),
            DEBIAN12,
            {**installed(nvidia_open_580="580.95.05-1"), "nvidia_driver_branch": "595"},
            "nvidia-open=595.91.07-1",
        ),
        # The package without a branch in its name is of the installed branch, and another is set.
        (
            (AMPERE,),
            DEBIAN12,
            {**installed(nvidia_open="590.48.01-1"), "nvidia_driver_branch": "595"},
            "nvidia-open=595.91.07-1",
        ),
    ],
)
def test_driver_is_one_that_is_offered(
    gpus: tuple[str, ...], packages: dict[str, list[str]], changes: dict[str, Any], wanted: str
) -> None:
    assert value("driver_packages", *gpus, **offers(packages), **changes) == [wanted]


@pytest.mark.parametrize(
    ("gpus", "packages", "changes"),
    [
        ((PASCAL,), DEBIAN13, TRIXIE),
        ((AMPERE,), DEBIAN12, {"nvidia_driver_branch": "585"}),
        ((AMPERE,), {}, {}),
    ],
)
def test_driver_that_is_not_offered_has_no_version(
    gpus: tuple[str, ...], packages: dict[str, list[str]], changes: dict[str, Any]
) -> None:
    assert value("driver_version", *gpus, **offers(packages), **changes) == ""
    assert value("driver_is_installed", *gpus, **offers(packages), **changes) is False


def test_branches_that_are_offered_are_listed() -> None:
    assert value("driver_branches_offered", **offers(DEBIAN12)) == [570, 580, 590, 595, 610]


@pytest.mark.parametrize(
    ("packages", "distribution", "gpus", "wanted", "cuda"),
    [
        (
            {"nvidia-kernel-dkms": ["535.261.03-1~deb12u1"]},
            {"distribution": "Debian", "distribution_version": "12"},
            (AMPERE,),
            DEBIANS_DRIVER,
            "12-8",
        ),
        # The vendor's repository is here, too.
        (
            DEBIAN13,
            TRIXIE,
            (AMPERE,),
            DEBIANS_DRIVER,
            "12-8",
        ),
        (
            {
                "nvidia-utils-570": ["570.211.01-0ubuntu1"],
                "nvidia-utils-595": ["595.71.05-0ubuntu1"],
            },
            {"distribution_version": "24.04"},
            (AMPERE,),
            ["nvidia-headless-595", "nvidia-utils-595"],
            "13-0",
        ),
        (
            {"nvidia-utils-580": ["580.142-0ubuntu1"], "nvidia-utils-595": ["595.71.05-0ubuntu1"]},
            {"distribution_version": "24.04"},
            (BLACKWELL,),
            ["nvidia-headless-580-open", "nvidia-utils-580"],
            "13-0",
        ),
    ],
)
def test_distributions_driver_decides_the_stack(
    packages: dict[str, list[str]],
    distribution: dict[str, Any],
    gpus: tuple[str, ...],
    wanted: list[str],
    cuda: str,
) -> None:
    changes = {"nvidia_driver_source": "distribution", **distribution, **offers(packages)}
    assert value("driver_packages", *gpus, **changes) == wanted
    assert value("cuda_toolkit_wanted", *gpus, **changes) == cuda


@pytest.mark.parametrize(
    ("gpus", "packages", "changes", "package"),
    [
        ((AMPERE,), DEBIAN12, {}, "cuda-minimal-build-13-0"),
        ((PASCAL,), DEBIAN12, {}, "cuda-minimal-build-12-8"),
        ((AMPERE,), DEBIAN12, {"cuda_toolkit_parts": "all"}, "cuda-toolkit-13-0"),
        ((AMPERE,), DEBIAN12, {"cuda_toolkit": "13-2"}, "cuda-minimal-build-13-2"),
        # Not PyTorch's own series: the next one of the same major version.
        ((AMPERE,), DEBIAN13, TRIXIE, "cuda-minimal-build-13-1"),
        ((AMPERE,), {"cuda-minimal-build-12-8": ["12.8.1-1"]}, {}, "cuda-minimal-build-13-0"),
        # What is installed stays, and one of another major version does not count.
        (
            (AMPERE,),
            DEBIAN12,
            {
                "software": {
                    "torch": None,
                    "nccl": None,
                    "cuda_packages": {"cuda-toolkit-13-2": "13.2.0-1"},
                }
            },
            "cuda-minimal-build-13-2",
        ),
        (
            (AMPERE,),
            DEBIAN12,
            {
                "software": {
                    "torch": None,
                    "nccl": None,
                    "cuda_packages": {"cuda-toolkit-12-8": "12.8.1-1"},
                }
            },
            "cuda-minimal-build-13-0",
        ),
    ],
)
def test_toolkit_is_of_pytorchs_cuda(
    gpus: tuple[str, ...], packages: dict[str, list[str]], changes: dict[str, Any], package: str
) -> None:
    assert value("cuda_package", *gpus, **offers(packages), **changes) == package


@pytest.mark.parametrize(
    ("gpus", "packages", "there", "version"),
    [
        ((AMPERE,), DEBIAN12, None, "2.30.7-1+cuda13.2"),
        ((PASCAL,), DEBIAN12, None, "2.30.4-1+cuda12.9"),
        ((AMPERE,), DEBIAN12, "2.29.7-1+cuda13.2", "2.29.7-1+cuda13.2"),
        ((AMPERE,), DEBIAN12, "2.29.7-1+cuda12.9", "2.30.7-1+cuda13.2"),
        ((PASCAL,), DEBIAN13, None, ""),
        # A distribution's own build names no CUDA.
        ((AMPERE,), {"libnccl2": ["2.22.3-1"]}, "2.22.3-1", ""),
    ],
)
def test_nccl_is_the_newest_of_pytorchs_cuda(
    gpus: tuple[str, ...], packages: dict[str, list[str]], there: str | None, version: str
) -> None:
    software: dict[str, Any] = {"torch": None, "nccl": there, "cuda_packages": {}}
    assert value("nccl_wanted", *gpus, **offers(packages), software=software) == version


def test_nccl_of_the_setting_wins() -> None:
    assert (
        value("nccl_wanted", **offers(DEBIAN12), nccl_version="2.18.3-1+cuda12.1")
        == "2.18.3-1+cuda12.1"
    )


def test_offers_of_the_preflight_serve_until_the_rig_has_its_own() -> None:
    before = {"repositories": {"stdout_lines": ["clock 0", "offer nvidia-open-580 580.1-1"]}}
    assert value("driver_version", **before) == "580.1-1"
    assert value("driver_version", **before, **offers(DEBIAN12)) == "580.126.20-1"
    skipped = {"skipped": True, "changed": False}
    assert value("driver_version", offered=skipped, **before) == "580.1-1"
