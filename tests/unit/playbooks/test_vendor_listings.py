"""The driver that is chosen from what NVIDIA's repository lists for each distribution.

Versions and names are those of published listings: `apt-cache madison` and indexes of ubuntu2404,
set-up scripts for ubuntu2604, debian12 and debian13, NVIDIA's guide for names without a branch.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.playbooks.test_package_choice import DEBIAN12, DEBIAN13, offers
from tests.unit.playbooks.test_rig_variables import AMPERE, BLACKWELL, PASCAL, value

UBUNTU2404 = {
    "nvidia-open": ["610.57.04-1ubuntu1", "595.91.07-1ubuntu1", "590.48.01-0ubuntu1"],
    "nvidia-open-580": ["580.159.04-1ubuntu1", "580.126.20-1ubuntu1", "580.95.05-0ubuntu1"],
    "nvidia-open-570": ["570.211.01-0ubuntu1"],
    "cuda-drivers": ["610.57.04-1ubuntu1", "595.71.05-1ubuntu1", "590.48.01-0ubuntu1"],
    "cuda-drivers-580": ["580.159.04-1ubuntu1", "580.126.20-1ubuntu1", "580.95.05-0ubuntu1"],
    "cuda-drivers-550": ["550.90.07-1"],
    "cuda-minimal-build-13-0": ["13.0.2-1"],
    "cuda-minimal-build-12-8": ["12.8.1-1"],
    "libnccl2": ["2.30.4-1+cuda13.2", "2.29.7-1+cuda12.9", "2.29.2-1+cuda13.1"],
}
UBUNTU2604 = {
    "nvidia-open": ["615.71.09-2ubuntu1", "610.43.02-1ubuntu1", "595.71.05-1ubuntu1"],
    "cuda-drivers": ["615.71.09-2ubuntu1", "610.43.02-1ubuntu1", "595.71.05-1ubuntu1"],
    "cuda-minimal-build-13-3": ["13.3.1-1"],
    "cuda-minimal-build-13-2": ["13.2.0-1"],
    "libnccl2": ["2.30.7-1+cuda13.3"],
}
LISTINGS: dict[str, tuple[dict[str, list[str]], dict[str, str]]] = {
    "ubuntu2204": (UBUNTU2404, {"distribution_version": "22.04"}),
    "ubuntu2404": (UBUNTU2404, {"distribution_version": "24.04"}),
    "ubuntu2604": (UBUNTU2604, {"distribution_version": "26.04"}),
    "debian12": (
        DEBIAN12,
        {
            "distribution": "Debian",
            "distribution_version": "12.12",
            "distribution_major_version": "12",
        },
    ),
    "debian13": (
        DEBIAN13,
        {
            "distribution": "Debian",
            "distribution_version": "13.2",
            "distribution_major_version": "13",
        },
    ),
}


def choose(name: str, variable: str, *gpus: str, **changes: Any) -> Any:
    packages, distribution = LISTINGS[name]
    return value(variable, *gpus, **offers(packages), **distribution, **changes)


@pytest.mark.parametrize(
    ("name", "gpus", "changes", "wanted"),
    [
        ("ubuntu2204", (AMPERE,), {}, "nvidia-open-580=580.159.04-1ubuntu1"),
        ("ubuntu2404", (AMPERE, BLACKWELL), {}, "nvidia-open-580=580.159.04-1ubuntu1"),
        ("ubuntu2404", (PASCAL,), {}, "cuda-drivers-580=580.159.04-1ubuntu1"),
        (
            "ubuntu2404",
            (AMPERE,),
            {"nvidia_driver_branch": 590},
            "nvidia-open=590.48.01-0ubuntu1",
        ),
        (
            "ubuntu2404",
            (PASCAL,),
            {"nvidia_driver_version": "580.95.05"},
            "cuda-drivers-580=580.95.05-0ubuntu1",
        ),
        (
            "ubuntu2404",
            (PASCAL,),
            {"nvidia_driver_branch": 550},
            "cuda-drivers-550=550.90.07-1",
        ),
        ("ubuntu2604", (AMPERE,), {}, "nvidia-open=595.71.05-1ubuntu1"),
        (
            "ubuntu2604",
            (BLACKWELL,),
            {"nvidia_driver_branch": 615},
            "nvidia-open=615.71.09-2ubuntu1",
        ),
        ("debian12", (AMPERE,), {}, "nvidia-open-580=580.126.20-1"),
        ("debian12", (PASCAL,), {}, "cuda-drivers-580=580.126.20-1"),
        ("debian13", (AMPERE,), {}, "nvidia-open=590.48.01-1"),
    ],
)
def test_driver_of_a_listing(
    name: str, gpus: tuple[str, ...], changes: dict[str, Any], wanted: str
) -> None:
    assert choose(name, "driver_packages", *gpus, **changes) == [wanted]


@pytest.mark.parametrize("name", ["ubuntu2604", "debian13"])
def test_repository_without_branch_580_has_no_driver_for_pascal(name: str) -> None:
    assert choose(name, "driver_version", PASCAL) == ""


@pytest.mark.parametrize(
    ("name", "gpu", "toolkit", "nccl"),
    [
        ("ubuntu2404", AMPERE, "cuda-minimal-build-13-0", "2.30.4-1+cuda13.2"),
        ("ubuntu2404", PASCAL, "cuda-minimal-build-12-8", "2.29.7-1+cuda12.9"),
        ("ubuntu2604", AMPERE, "cuda-minimal-build-13-2", "2.30.7-1+cuda13.3"),
        ("debian13", AMPERE, "cuda-minimal-build-13-1", "2.30.7-1+cuda13.2"),
    ],
)
def test_cuda_and_nccl_of_a_listing(name: str, gpu: str, toolkit: str, nccl: str) -> None:
    assert choose(name, "cuda_package", gpu) == toolkit
    assert choose(name, "nccl_wanted", gpu) == nccl


@pytest.mark.parametrize("name", list(LISTINGS))
def test_key_of_each_repository_is_whole_and_one_that_its_apt_accepts(name: str) -> None:
    fingerprint = choose(name, "driver_key_fingerprint")
    assert len(fingerprint) == 40
    assert choose(name, "driver_repository").endswith(f"/{name}/x86_64/")
    # sqv refuses the older key, which only SHA-1 binds to its name.
    has_sqv = name in ("ubuntu2604", "debian13")
    assert (fingerprint == "EB693B3035CD5710E231E123A4B469963BF863CC") is not has_sqv


@pytest.mark.parametrize(
    ("name", "source", "components"),
    [
        ("ubuntu2604", "vendor", ["universe"]),
        ("ubuntu2404", "distribution", ["restricted", "universe"]),
        ("debian12", "vendor", ["contrib"]),
        ("debian13", "vendor", ["contrib"]),
        ("debian13", "distribution", ["contrib", "non-free", "non-free-firmware"]),
    ],
)
def test_components_that_the_packages_need(name: str, source: str, components: list[str]) -> None:
    assert choose(name, "_components_needed", nvidia_driver_source=source) == components
