"""The driver's packages by origin, and NVML's library at the end of alternatives links."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from provision.remote import dpkg
from provision.remote.facts.apt_state import read_package_lists
from provision.remote.facts.driver import driver
from provision.remote.facts.driver_packages import FAMILY, find_versions, read_driver_packages
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files, write_packages

LISTS = "var/lib/apt/lists"
VENDOR = f"{LISTS}/developer.download.nvidia.com_compute_cuda_repos_debian12_x86%5f64_"
DEBIAN = f"{LISTS}/deb.debian.org_debian_dists_bookworm_"
LOCAL = f"{LISTS}/10.0.0.7:8000_gpu_"
PPA = f"{LISTS}/ppa.launchpadcontent.net_graphics-drivers_ppa_ubuntu_dists_jammy_"
SOURCES = """\
deb https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/ /
deb http://deb.debian.org/debian bookworm main non-free
deb http://10.0.0.7:8000/gpu /
deb https://ppa.launchpadcontent.net/graphics-drivers/ppa/ubuntu jammy main
"""


def stanza(name: str, version: str) -> str:
    return f"Package: {name}\nArchitecture: amd64\nVersion: {version}\nDepends: nvidia-x\n\n"


def index(stem: str, text: str, name: str = "Packages", origin: str = "x") -> dict[str, str]:
    path = name.replace("/", "_")
    listed = name if "/" in name else f"./{name}"
    release = f"Origin: {origin}\nSHA256:\n {'a' * 64} {len(text)} {listed}\n"
    return {f"{stem}InRelease": release, f"{stem}{path}": text}


FILES: dict[str, Any] = {
    "etc/apt/sources.list": SOURCES,
    **index(VENDOR, stanza("cuda-toolkit-13-0", "13") + stanza("libcuda1", "580.95.05-1")),
    **index(
        DEBIAN,
        stanza("nvidia-driver", "535.247.01-1~deb12u1"),
        "non-free/binary-amd64/Packages",
        "Debian",
    ),
    **index(LOCAL, stanza("nvidia-smi", "580.95.05-1"), origin="NVIDIA"),
    **index(
        PPA, stanza("nvidia-dkms-570", "570.1-0ubuntu1"), "main/binary-amd64/Packages", "LP-PPA"
    ),
}


def origins(root: Path, packages: dict[str, Any], **files: Any) -> dict[str, str]:
    create_files(root, {**FILES, **files})
    folder = root / "var/lib/dpkg"
    folder.mkdir(parents=True)
    text = "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
        f"Version: {version}\nMaintainer: {maintainer}\n"
        for name, (version, maintainer) in packages.items()
    )
    database = dpkg.Database(text)
    tree = Tree(str(root))
    rows = read_driver_packages(tree, database, read_package_lists(tree, database)[1])
    return {row["name"]: row["origin"] for row in rows}


NVIDIA = "NVIDIA <cudatools@nvidia.com>"
TEAM = "Debian NVIDIA Maintainers <pkg-nvidia-devel@lists.alioth.debian.org>"


@pytest.mark.parametrize(
    ("name", "version", "maintainer", "origin"),
    [
        ("libcuda1", "580.95.05-1", "x", "vendor"),
        ("nvidia-smi", "580.95.05-1", "x", "vendor"),  # a mirror of it, by its Release file
        ("nvidia-driver", "535.247.01-1~deb12u1", "x", "distribution"),
        ("nvidia-dkms-570", "570.1-0ubuntu1", "x", "other"),
        # A version that the repositories no longer have.
        ("nvidia-driver", "535.1-1", TEAM, "distribution"),
        ("libcuda1", "570.1-1", NVIDIA, "vendor"),
        ("nvidia-driver-550", "550.1-0ubuntu0~gpu22.04.1", "x <y@ubuntu.com>", "other"),
        ("nvidia-driver-550", "550.1-0ubuntu0.22.04.1", "x <y@ubuntu.com>", "distribution"),
        ("nvidia-local-repo", "1", "x", None),
        ("nvidia-kernel-dkms", "1", "me <me@home.example>", "local"),
    ],
)
def test_origin_of_a_package(
    tmp_path: Path, name: str, version: str, maintainer: str, origin: str | None
) -> None:
    rows = origins(tmp_path, {name: (version, maintainer), "bash": ("5", TEAM)})
    assert rows == ({name: origin} if origin else {})


@pytest.mark.parametrize(
    ("name", "is_family"),
    [
        ("nvidia-open-580", True),
        ("nvidia-driver-580-server", True),
        ("nvidia-kernel-open-dkms", True),
        ("libnvidia-compute-580", True),
        ("libnvidia-ml1", True),
        ("libegl-nvidia0", True),
        ("libgl1-nvidia-glvnd-glx", True),
        ("firmware-nvidia-gsp", True),
        ("libnvcuvid1", True),
        ("cuda-drivers-580", True),
        ("xserver-xorg-video-nvidia-580", True),
        ("linux-modules-nvidia-580-generic", True),
        ("nvidia-container-toolkit", False),
        ("libnvidia-container1", False),
        ("nvidia-cuda-toolkit", False),
        ("nvidia-settings", False),
        ("cuda-toolkit-13-0", False),
        ("nvidia-docker2", False),
    ],
)
def test_family_of_the_driver(name: str, is_family: bool) -> None:
    assert bool(FAMILY.fullmatch(name)) is is_family


def test_large_lists_are_searched_fast(tmp_path: Path) -> None:
    filler = "".join(stanza(f"libfoo-{number}", "1") for number in range(2000)) + "x" * 1000
    path = tmp_path / "Packages"
    with path.open("w") as stream:
        for _ in range(100):  # 20 MB
            stream.write(filler + "\n\n")
        stream.write(stanza("libcuda1", "580.1"))
    began = time.monotonic()
    assert list(find_versions(Tree(str(tmp_path)), "/Packages", {"libcuda1"})) == [
        ("libcuda1", "580.1")
    ]
    assert time.monotonic() - began < 2


LIBRARIES = "usr/lib/x86_64-linux-gnu"
CURRENT = f"{LIBRARIES}/nvidia/current"
#: Debian's alternatives: glx--libnvidia-ml.so.1 of update-glx.
CHAIN: dict[str, Any] = {
    "lib": {"link": "usr/lib"},
    f"{LIBRARIES}/libnvidia-ml.so.1": {
        "link": "/etc/alternatives/glx--libnvidia-ml.so.1-x86_64-linux-gnu"
    },
    "etc/alternatives/glx--libnvidia-ml.so.1-x86_64-linux-gnu": {
        "link": f"/{CURRENT}/libnvidia-ml.so.1"
    },
    f"{CURRENT}/libnvidia-ml.so.1": {"link": "libnvidia-ml.so.535.247.01"},
    f"{CURRENT}/libnvidia-ml.so.535.247.01": "",
}


@pytest.mark.parametrize(
    ("listed", "owner"),
    [
        (f"/{CURRENT}/libnvidia-ml.so.535.247.01", "package"),
        (f"/{CURRENT.replace('usr/', '')}/libnvidia-ml.so.535.247.01", "package"),
        (f"/{LIBRARIES}/libother.so", "runfile"),
    ],
)
def test_library_behind_alternatives(tmp_path: Path, listed: str, owner: str) -> None:
    create_files(
        tmp_path, {**CHAIN, "var/lib/dpkg/info/libnvidia-ml1:amd64.list": f"/.\n{listed}\n"}
    )
    write_packages(tmp_path, {"libnvidia-ml1": "535.247.01-1~deb12u1"})
    database = dpkg.Database((tmp_path / "var/lib/dpkg/status").read_text())
    state = driver(Tree(str(tmp_path)), database)
    assert state["library_version"] == "535.247.01"
    assert state["library_owner"] == owner


def test_links_that_lead_in_a_circle(tmp_path: Path) -> None:
    create_files(tmp_path, {f"{LIBRARIES}/libnvidia-ml.so.1": {"link": "libnvidia-ml.so.1"}})
    write_packages(tmp_path, {})
    state = driver(Tree(str(tmp_path)), dpkg.Database(""))
    assert state["library_version"] is None
