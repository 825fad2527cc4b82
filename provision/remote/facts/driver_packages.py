"""The packages of the NVIDIA driver: state, and from where they came.

A package comes from the source whose lists have exactly its version. Where the lists are missing,
or a repository no longer has the version, the package's maintainer decides. Small lists are read
first, and a list of the whole distribution only for what none of them has.
"""

from __future__ import annotations

import mmap
import re
from typing import Iterable, Iterator, TypedDict

from provision.remote import dpkg
from provision.remote.facts.package_lists import ListFiles, present_index
from provision.remote.facts.package_sources import host_of
from provision.remote.facts.tree import Tree

#: The family of the driver. The container toolkit, CUDA's compilers and NVIDIA's settings of a
#: desktop have their own versions.
FAMILY = re.compile(
    r"nvidia-(?:open|driver|kernel|dkms|firmware|compute|utils|headless|smi|modprobe|persistenced|"
    r"alternative|legacy|tesla|egl|vdpau|opencl|vulkan|fabricmanager|imex|libopencl|powerd|suspend|"
    r"installer|xconfig|cuda-mps|detect)\S*|nvidia-\d+\S*|libnvidia-(?!container|egl-wayland)\S*|"
    r"libcuda1\S*|libcudadebugger1|libnvcuvid1|libnvoptix1|cuda-drivers\S*|cuda-compat\S*|"
    r"libegl-nvidia\S*|libglx-nvidia\S*|libgles-nvidia\S*|libgl1-nvidia\S*|firmware-nvidia\S*|"
    r"xserver-xorg-video-nvidia\S*|linux-(?:modules|objects|signatures)-nvidia\S*"
)
#: Of the distribution, the parts that have it; they are small.
SMALL = re.compile(r"_(?:non-free|non-free-firmware|restricted|multiverse|contrib)_binary-")
VENDOR_HOST = re.compile(r"(?:^|\.)nvidia\.(?:com|cn)$")
DISTRIBUTION = re.compile(
    r"^(?:Origin|Label): (?:Debian|Ubuntu|Raspbian|Linux ?Mint)\b", re.MULTILINE | re.IGNORECASE
)
VENDOR = re.compile(r"^(?:Origin|Label): NVIDIA\b", re.MULTILINE | re.IGNORECASE)
#: What NVIDIA's own packages have as their maintainer, and the packages of distributions.
VENDOR_MAINTAINER = re.compile(r"@nvidia\.com|^NVIDIA\b", re.IGNORECASE)
DISTRIBUTION_MAINTAINER = re.compile(r"debian\.(?:org|net)|ubuntu\.com|canonical\.com")
MOST_OF_A_STANZA = 16 << 10  # bytes


class DriverPackageRow(TypedDict):
    """A package. version: None where it was never unpacked.

    origin: vendor, distribution, other (another repository), or local.
    """

    name: str
    version: str | None
    state: str
    origin: str


def read_driver_packages(
    tree: Tree, packages: dpkg.Database, lists: Iterable[ListFiles]
) -> list[DriverPackageRow]:
    """Return the packages of the driver that are there, were it in part."""
    present = [
        package
        for name in packages.names()
        if FAMILY.fullmatch(name)
        for package in packages.find_all(name)
        if package.present
    ]
    origins = _origins(tree, present, lists)
    return [
        {
            "name": package.name,
            "version": package.version or None,
            "state": "reinst-required" if package.needs_reinstallation else package.state,
            "origin": origins.get((package.name, package.version)) or _by_maintainer(package),
        }
        for package in sorted(present, key=lambda package: package.name)
    ]


def origin_of(tree: Tree, suite: ListFiles) -> str:
    """Return where the packages of a source come from: vendor, distribution or other."""
    release = tree.text(suite.release)[:4096] if suite.release else ""
    if VENDOR_HOST.search(host_of(suite.uri)) or VENDOR.search(release):
        return "vendor"
    if DISTRIBUTION.search(release) or re.search(
        r"(?:^|\.)(?:debian\.org|ubuntu\.com)$", host_of(suite.uri)
    ):
        return "distribution"
    return "other"


def _origins(
    tree: Tree, present: Iterable[dpkg.Package], lists: Iterable[ListFiles]
) -> dict[tuple[str, str], str]:
    """Return the origins of packages by name and version, as far as the lists have them."""
    left = {(package.name, package.version) for package in present}
    if not left:
        return {}
    origins: dict[tuple[str, str], str] = {}
    indexes = [(index, origin_of(tree, suite)) for suite in lists for index in suite.indexes]
    for index, origin in sorted(indexes, key=_by_size):
        path = present_index(tree, index) if left else ""
        for key in find_versions(tree, path, {name for name, _ in left}) if path else ():
            if key in left:
                origins[key] = origin
        left -= origins.keys()
    return origins


def _by_size(row: tuple[str, str]) -> tuple[bool, bool]:
    index, origin = row
    is_large = origin == "distribution" and not SMALL.search(index)
    return is_large, origin != "vendor"


def find_versions(tree: Tree, path: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and version of each stanza of a Packages file that is of one of some packages.

    The file is searched in place, 60 megabytes in 50 ms: the pattern begins with a fixed text. A
    compressed one is left out, since to read it takes seconds.
    """
    try:
        with open(tree.path(path), "rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # it is missing, or empty
        return
    pattern = rb"Package: (" + "|".join(map(re.escape, sorted(names))).encode() + rb")\n"
    with content:
        first = re.match(pattern, content)
        for match in (*([first] if first else ()), *re.finditer(rb"\n" + pattern, content)):
            end = match.end()
            stanza = content[end : end + MOST_OF_A_STANZA].partition(b"\n\n")[0]
            version = re.search(rb"^Version: *(\S+)", stanza, re.MULTILINE)
            if version:
                yield match.group(1).decode(), version.group(1).decode("utf-8", "replace")


def _by_maintainer(package: dpkg.Package) -> str:
    maintainer = package.fields.get("Maintainer", "")
    if VENDOR_MAINTAINER.search(maintainer):
        return "vendor"
    # Packages of a PPA are built by the same people, with versions like 0ubuntu0~gpu24.04.1.
    if DISTRIBUTION_MAINTAINER.search(maintainer) and "~gpu" not in package.version:
        return "distribution"
    return "other" if "~gpu" in package.version else "local"
