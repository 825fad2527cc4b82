"""The NVIDIA driver: what is loaded, what is installed, and who installed it."""

from __future__ import annotations

import re
from typing import Any, Iterator

from provision.remote import dpkg
from provision.remote.facts.tree import Tree

PACKAGES = ("nvidia*", "libnvidia*", "cuda-drivers*", "xserver-xorg-video-nvidia*")
LIBRARY = "libnvidia-ml.so.1"
#: Groups by which Debian's packages of several drivers, and Mesa's, share names: `nvidia` chooses
#: the driver; `glx` what provides GLX, and with it /etc/modprobe.d/nvidia.conf.
ALTERNATIVES = ("glx", "nvidia")
UNINSTALLER = "/usr/bin/nvidia-uninstall"  # a .run file's; no package has one
DEFAULT_FOLDERS = (
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
)


def driver(tree: Tree, packages: dpkg.Database) -> dict[str, Any]:
    """Return the driver's state, kernel's side and user's side."""
    loaded = tree.text("/proc/driver/nvidia/version")
    match = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", loaded, re.MULTILINE)
    flavour = "open" if "Open Kernel Module" in loaded else "proprietary"
    library = find_library(tree)
    version = re.search(r"\.so\.(\d+\.[\d.]+)$", library or "")
    return {
        "loaded_version": match.group(1) if match else None,
        "loaded_flavour": flavour if match else None,
        "library_version": version.group(1) if version else None,
        "library_owner": _owner(tree, library) if library else None,
        "package_versions": {
            package.name: package.version
            for pattern in PACKAGES
            for package in packages.matching(pattern)
            if package.present and package.version
        },
        "alternatives": list(_alternatives(tree)),
        "nouveau_loaded": tree.exists("/sys/module/nouveau"),
        "runfile_uninstaller": UNINSTALLER if tree.exists(UNINSTALLER) else None,
    }


def _alternatives(tree: Tree) -> Iterator[dict[str, Any]]:
    """Yield what each group leads to, and whether a person chose it.

    Source: update-alternatives(1); the first line of a group's file is its mode.
    """
    for name in ALTERNATIVES:
        mode = tree.text(f"/var/lib/dpkg/alternatives/{name}").partition("\n")[0]
        if mode:
            value = tree.target(f"/etc/alternatives/{name}")
            yield {"name": name, "by_hand": mode == "manual", "value": value}


def list_versions(state: dict[str, Any]) -> list[str]:
    """Return the versions of the driver that may be those of a module: the loaded one first."""
    versions = [state["loaded_version"], state["library_version"]]
    versions += [
        re.sub(r"^\d+:", "", row["version"] or "").partition("-")[0] for row in state["packages"]
    ]
    return list(dict.fromkeys(version for version in versions if version))


def find_library(tree: Tree) -> str | None:
    """Return NVML's file, where the dynamic linker looks, at the end of every link.

    Debian's own packages have a chain: libnvidia-ml.so.1 -> /etc/alternatives/glx--… ->
    /usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-ml.so.1 -> libnvidia-ml.so.535.247.01.
    """
    for folder in linker_folders(tree):
        path = tree.resolve(f"{folder}/{LIBRARY}")
        if tree.exists(path):
            return path
    return None


def linker_folders(tree: Tree, start: str = "/etc/ld.so.conf") -> list[str]:
    """Return the folders that ld.so.conf names, then the usual ones."""
    folders: list[str] = []
    for line in tree.lines(start):
        words = line.split()
        if words[0] == "include":
            for pattern in words[1:]:
                base = pattern if pattern.startswith("/") else f"/etc/{pattern}"
                for path in tree.glob(base):
                    folders += [
                        folder
                        for folder in linker_folders(tree, path)
                        if folder not in DEFAULT_FOLDERS
                    ]
        elif line.startswith("/"):
            folders.append(line.split("#")[0].strip())
    return [*folders, *DEFAULT_FOLDERS]


def _owner(tree: Tree, library: str) -> str:
    admin = tree.path("/var/lib/dpkg")
    owner = dpkg.find_owner(library, ("libnvidia*", "nvidia*", "libcuda*", "cuda*"), admin)
    return "package" if owner else "runfile"


def secure_boot(tree: Tree) -> bool | None:
    """Return whether Secure Boot is on; None without EFI, or where its variables can't be read."""
    folder = "/sys/firmware/efi/efivars"
    if not tree.names(folder):
        return None
    for path in tree.glob(f"{folder}/SecureBoot-*"):
        try:
            with open(tree.path(path), "rb") as stream:
                return stream.read()[4:5] == b"\1"
        except OSError:
            return None
    return False


def kernel_headers(tree: Tree, release: str) -> bool:
    """Return whether modules can be built for this kernel."""
    return tree.exists(tree.resolve(f"/lib/modules/{release}/build"))
