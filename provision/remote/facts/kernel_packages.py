"""Packages of kernels: the image's own, and the meta package through which updates come.

A distribution's kernel is a package of one release, and a meta package that depends on the newest
one: linux-image-amd64 -> linux-image-6.1.0-31-amd64. Headers have the same two, and only the meta
package brings the headers of the next kernel. Which meta package is in use is read from dpkg's
dependencies, since there are many: cloud, rt, generic, lowlatency, hwe, Proxmox' and XanMod's.
"""

from __future__ import annotations

import re
from typing import Iterable, TypedDict

from provision.remote import dpkg

IMAGES = (
    *("linux-image-{}", "linux-image-unsigned-{}", "linux-image-{}-unsigned"),
    *("proxmox-kernel-{}", "proxmox-kernel-{}-signed", "pve-kernel-{}", "pve-kernel-{}-signed"),
)
META = re.compile(r"(?:linux|proxmox|pve)-")
DEPENDENCY = re.compile(r"(?:^|[,|])\s*([^\s,|(:]+)")
#: The word of a meta package's name in place of which that of the headers has `headers`.
WORD = re.compile(r"(?<=-)(?:image|kernel)(?=-|$)")


class MetaHeadersRow(TypedDict):
    """The headers that go with a kernel's meta package. version: that of the meta package."""

    package: str
    version: str
    installed: bool


def find_image_package(packages: dpkg.Database, release: str) -> str | None:
    """Return the package that a kernel's image is from; None where none has it."""
    for name in _image_names(release):
        package = packages.find(name)
        if package and package.present:
            return name
    return None


def find_meta_headers(
    packages: dpkg.Database, releases: Iterable[str]
) -> dict[str, list[MetaHeadersRow]]:
    """Return, by kernel, the headers' meta packages that go with its installed meta packages.

    A meta package that brings headers itself has no row.
    """
    images = {name: release for release in releases for name in _image_names(release)}
    rows: dict[str, list[MetaHeadersRow]] = {}
    for name in sorted(name for name in packages.names() if META.match(name)):
        package = packages.find(name)
        if not package or not package.present or name in images:
            continue
        needed = DEPENDENCY.findall(package.fields.get("Depends", ""))
        releases_needed = list(
            dict.fromkeys(images[dependency] for dependency in needed if dependency in images)
        )
        headers = WORD.sub("headers", name, count=1)
        if headers == name or any("-headers-" in dependency for dependency in needed):
            continue
        for release in releases_needed:
            rows.setdefault(release, []).append(
                {
                    "package": headers,
                    "version": package.version,
                    "installed": packages.find_installed(headers) is not None,
                }
            )
    return rows


def _image_names(release: str) -> list[str]:
    return [pattern.format(release) for pattern in IMAGES]
