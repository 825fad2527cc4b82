"""Every kernel that may boot or is installed: its headers, its NVIDIA module, its failed build.

The module of a kernel is the file that modprobe loads, by modules.dep where depmod wrote one. Its
version is that of DKMS' record for this kernel, or is read from the file itself.
Source: depmod.d(5) for the order of folders, dkms(8) for /var/lib/dkms.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, TypedDict

from provision.remote import dpkg
from provision.remote.facts.boot import RELEASE
from provision.remote.facts.driver import kernel_headers
from provision.remote.facts.kernel_packages import (
    MetaHeadersRow,
    find_image_package,
    find_meta_headers,
)
from provision.remote.facts.module_files import read_module_version
from provision.remote.facts.setting_files import list_settings
from provision.remote.facts.tree import Tree

MODULES = "/lib/modules"  # a link to /usr/lib where those are merged
#: Below a kernel's folder, in depmod's order: updates/dkms, extra of akmods and ELRepo, Ubuntu's
#: kernel/nvidia-580 (linux-modules-nvidia-*), kernel/drivers/video of a .run file.
PLACES = (
    *("updates/dkms", "updates", "extra", "extra/nvidia", "weak-updates", "weak-updates/nvidia"),
    *("misc", "kernel/nvidia*", "kernel/drivers/video", "kernel/drivers/video/nvidia"),
    *("kernel/drivers/char", "kernel/drivers/char/drm", "kernel/drivers/gpu/nvidia"),
)
#: The module itself, not its helpers. Debian's drivers have other names, since several may be
#: installed at once: nvidia-current, nvidia-current-open, nvidia-tesla-470, nvidia-legacy-390xx.
MODULE = re.compile(
    r"(?:^|/)(nvidia(?:-current|-tesla|-legacy)?(?:-[0-9]+(?:xx)?)?(?:-open)?)"
    r"\.ko(?:\.(?:xz|zst|gz))?$"
)
#: What `modprobe nvidia` loads there: a line of a file that alternatives choose.
LOADED_FOR_NVIDIA = re.compile(r"^\s*install\s+nvidia\s.*\bmodprobe\b.*\s(nvidia[-\w]+)", re.M)
IN_DEPENDENCIES = re.compile(r"^(\S*nvidia[^\s/]*\.ko(?:\.(?:xz|zst|gz))?):", re.MULTILINE)
DKMS = "/var/lib/dkms"
LOG_OF = re.compile(r"make\.log for (\S+?)[/-](\d[\w.~-]*) for kernel (\S+)")
ERROR = re.compile(
    r"\berror\b|\bfatal\b|\*\*\*|No rule to make|No such file|cannot |can't |undefined reference|"
    r"not found|Killed|No space left",
    re.IGNORECASE,
)
#: What make adds to an error of a program that it ran, and the commands that Debian's packages let
#: it print: their options (-Wno-error) are not errors.
ECHO = re.compile(
    r"^make(\[\d+\])?: (\*\*\* (\[|Waiting)|Leaving|Entering)|\s-[WDI]\S+\s.*\s-[WDI]\S+"
)
MOST_ERROR_LINES = 5
MOST_OF_A_LINE = 400  # characters
MOST_OF_A_LOG = 256 << 10  # characters from its end


class KernelRow(TypedDict):
    """A kernel. bootable: it has an entry in the boot menu, or boots without a menu.

    meta_headers: the packages that bring the headers of its updates.
    """

    release: str
    bootable: bool
    default: bool
    headers: bool
    package: str | None
    meta_headers: list[MetaHeadersRow]
    nvidia_modules: str | None
    build_error: str


def read_kernels(
    tree: Tree,
    packages: dpkg.Database,
    menu: dict[str, Any],
    running: str,
    driver_versions: Iterable[str],
) -> list[KernelRow]:
    """Return the kernels by their release.

    menu: what boot() returned. running: the release of the kernel that runs. driver_versions: of
    the installed driver, from the most to the least likely.
    """
    in_menu = {row["release"] for row in menu["kernels"] if row["release"]}
    following = (menu["next"] or {"release": ""})["release"] if menu["loader"] else running
    images = {match.group(1) for name in tree.names("/boot") if (match := RELEASE.search(name))}
    installed = {release for release in tree.names(MODULES) if _is_installed(tree, release)}
    releases = {release for release in in_menu | images | installed if _is_release(release)}
    builds = _failed_builds(tree)
    metas = find_meta_headers(packages, releases)
    versions = list(driver_versions)
    kernels: list[KernelRow] = []
    for release in sorted(releases):
        version = _module_version(tree, release, versions)
        kernels.append(
            {
                "release": release,
                "bootable": release in (in_menu if menu["loader"] else images),
                "default": release == following,
                "headers": kernel_headers(tree, release),
                "package": find_image_package(packages, release),
                "meta_headers": metas.get(release, []),
                "nvidia_modules": version,
                "build_error": "" if version else builds.get(release, ""),
            }
        )
    return kernels


def find_module(tree: Tree, release: str) -> str:
    """Return the path of the module that this kernel loads as nvidia; empty where it has none."""
    folder = f"{MODULES}/{release}"
    dependencies = tree.text(f"{folder}/modules.dep")
    if dependencies:
        paths = [
            path if path.startswith("/") else f"{folder}/{path}"
            for path in IN_DEPENDENCIES.findall(dependencies)
        ]
    else:
        paths = [path for place in PLACES for path in tree.glob(f"{folder}/{place}/nvidia*.ko*")]
    modules: dict[str, str] = {}
    for path in paths:
        match = MODULE.search(path)
        if match and tree.exists(path):
            modules.setdefault(match.group(1), path)
    texts = (tree.text(path) for path in list_settings(tree, "modprobe.d", ".conf"))
    chosen = [name.replace("_", "-") for text in texts for name in LOADED_FOR_NVIDIA.findall(text)]
    return next((modules[name] for name in (*chosen, *modules) if name in modules), "")


def last_error_lines(log: str) -> str:
    """Return the last lines of a build's log that name an error; else its last lines."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.search(line) and not ECHO.search(line)]
    return "\n".join(line[:MOST_OF_A_LINE] for line in (errors or lines)[-MOST_ERROR_LINES:])


def _is_release(name: str) -> bool:
    """Return whether a name is a kernel's, not that of a rescue image or of an old copy."""
    return bool(re.match(r"\d+\.\d+", name)) and not name.endswith((".old", ".bak", ".dpkg-bak"))


def _is_installed(tree: Tree, release: str) -> bool:
    """Return whether it has modules; DKMS leaves folders of kernels that were removed."""
    return any(
        tree.exists(f"{MODULES}/{release}/{name}")
        for name in ("kernel", "modules.builtin", "vmlinuz")
    )


def _module_version(tree: Tree, release: str, versions: list[str]) -> str | None:
    path = find_module(tree, release)
    match = MODULE.search(path)
    if not match:
        return None
    records = tree.glob(f"{DKMS}/{match.group(1)}/*/{release}/*/module")
    # Where the record has another name (Ubuntu's nvidia-srv), there is only one.
    records = records or tree.glob(f"{DKMS}/nvidia*/*/{release}/*/module")
    built = [record.split("/")[-4] for record in records]
    if "/updates/" in path and built:
        return next((version for version in versions if version in built), built[-1])
    version = read_module_version(tree, path)
    if version:
        return version
    branch = re.search(r"/nvidia-(\d+)", path)
    fitting = [v for v in versions if not branch or v.split(".")[0] == branch.group(1)]
    return next(iter([*fitting, *(branch.groups() if branch else ())]), "unknown")


def _failed_builds(tree: Tree) -> dict[str, str]:
    """Return the last errors of DKMS' builds of NVIDIA's modules, by kernel."""
    errors = {}
    for path in tree.glob(f"{DKMS}/nvidia*/*/build/make.log"):
        log = tree.text(path)
        match = LOG_OF.search(log[:1000])
        if match:
            errors[match.group(3)] = last_error_lines(log[-MOST_OF_A_LOG:])
    return errors
