"""The meta package that goes with a kernel, by what dpkg has installed."""

from __future__ import annotations

import pytest

from provision.remote import dpkg
from provision.remote.facts.kernel_packages import find_image_package, find_meta_headers

DEBIAN, UBUNTU = "6.1.0-31-amd64", "6.8.0-50-generic"


def database(*rows: tuple[str, str], state: str = "installed") -> dpkg.Database:
    """Return a database of packages with their dependencies."""
    return dpkg.Database(
        "\n".join(
            f"Package: {name}\nStatus: install ok {state}\nArchitecture: amd64\n"
            f"Version: 6.1.123-1\nDepends: {depends}\n"
            for name, depends in rows
        )
    )


@pytest.mark.parametrize(
    ("release", "meta", "depends", "headers"),
    [
        (DEBIAN, "linux-image-amd64", f"linux-image-{DEBIAN} (= 6.1.123-1)", "linux-headers-amd64"),
        (
            *("6.1.0-31-cloud-amd64", "linux-image-cloud-amd64"),
            *("linux-image-6.1.0-31-cloud-amd64 (= 6.1.123-1)", "linux-headers-cloud-amd64"),
        ),
        (
            *("6.1.0-31-rt-amd64", "linux-image-rt-amd64"),
            *("linux-image-6.1.0-31-rt-amd64 (= 6.1.123-1)", "linux-headers-rt-amd64"),
        ),
        (
            *(UBUNTU, "linux-image-generic"),
            f"linux-image-{UBUNTU} | linux-image-unsigned-{UBUNTU}, linux-firmware",
            "linux-headers-generic",
        ),
        (
            *(UBUNTU, "linux-image-generic-hwe-24.04"),
            f"linux-firmware, linux-image-{UBUNTU}:amd64",
            "linux-headers-generic-hwe-24.04",
        ),
        (
            *("6.8.0-50-lowlatency", "linux-image-lowlatency"),
            *("linux-image-6.8.0-50-lowlatency", "linux-headers-lowlatency"),
        ),
        (
            *("6.8.12-4-pve", "proxmox-kernel-6.8"),
            "proxmox-kernel-6.8.12-4-pve-signed | proxmox-kernel-6.8.12-4-pve",
            "proxmox-headers-6.8",
        ),
    ],
)
def test_headers_of_a_meta_package(release: str, meta: str, depends: str, headers: str) -> None:
    missing = {"package": headers, "version": "6.1.123-1", "installed": False}
    assert find_meta_headers(database((meta, depends)), [release, "1.2.3"]) == {release: [missing]}
    both = database((meta, depends), (headers, "linux-headers-x"))
    assert find_meta_headers(both, [release]) == {release: [{**missing, "installed": True}]}


@pytest.mark.parametrize(
    ("meta", "depends"),
    [
        pytest.param("linux-image-amd64", "linux-image-6.1.0-32-amd64", id="of another kernel"),
        pytest.param(
            *("linux-xanmod-x64v3", f"linux-image-{DEBIAN}, linux-headers-{DEBIAN}"),
            id="with headers",
        ),
        pytest.param("virtualbox", f"linux-image-{DEBIAN}", id="of something else"),
        pytest.param(f"linux-image-{DEBIAN}-dbg", "", id="no meta package"),
    ],
)
def test_no_headers_by_a_meta_package(meta: str, depends: str) -> None:
    assert find_meta_headers(database((meta, depends)), [DEBIAN]) == {}


def test_meta_package_that_was_removed() -> None:
    row = ("linux-image-amd64", f"linux-image-{DEBIAN}")
    assert find_meta_headers(database(row, state="config-files"), [DEBIAN]) == {}


def test_packages_of_images() -> None:
    packages = database((f"linux-image-{DEBIAN}", ""), ("pve-kernel-6.2.16-3-pve", ""))
    assert find_image_package(packages, DEBIAN) == f"linux-image-{DEBIAN}"
    assert find_image_package(packages, "6.2.16-3-pve") == "pve-kernel-6.2.16-3-pve"
    assert find_image_package(packages, UBUNTU) is None
