"""The machine's kernel and its files: Debian's packages from this machine's own sources, cached."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.build import base, host, tools
from lab.build import image as lab_image
from lab.errors import LabError
from lab.qemu import archive
from lab.report import step

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).parent / "guest"
QEMU = "qemu-system-x86_64"
PACKAGES = ("python3", "busybox-static")
#: The kernel for virtual machines: small, and its injector of PCIe errors is a module.
KERNEL = "linux-image-cloud-amd64"
INJECTOR = "aer_inject.ko"
NOT_NEEDED = ("usr/share", "var/cache", "var/lib/apt")
#: What of the project runs in the machine: what runs on rigs, all of it standard library.
CODE = ("provision/__init__.py", "provision/remote", "agent/__init__.py", "agent/readings")


@dataclass(frozen=True)
class BootFiles:
    """A kernel, its module that injects errors, and its initial file system."""

    kernel: Path
    injector: Path
    files: Path


def unusable() -> LabError | None:
    """Return why QEMU's machine cannot run here, or None if it can."""
    if problem := host.unusable():
        return problem
    if host.read_codename() != host.SUPPORTED["debian"]:
        return LabError(
            "The tests on a real kernel need Debian's kernel.", "Run them on Debian 12."
        )
    if not host.find_program(QEMU):
        return LabError(
            f"The tests on a real kernel need {QEMU}.",
            "Run: apt-get install --no-install-recommends qemu-system-x86",
        )
    return None


def ensure() -> BootFiles:
    """Return the image, built first if it is not in the cache. Raises LabError."""
    if problem := unusable():
        raise problem
    package = _kernel_package()
    tools.fetch(package)
    kernel = _only(tools.folder(package), "boot/vmlinuz-*")
    injector = _only(tools.folder(package), f"lib/modules/*/kernel/drivers/pci/pcie/{INJECTOR}")
    recipe = lab_image.fingerprint(*PACKAGES, *NOT_NEEDED, *base.find().lines().splitlines())
    files = lab_image.cache() / f"qemu-{recipe}" / "files.cpio"
    if not files.exists():
        with step("Building the files of the QEMU machine", usual="some seconds"):
            _build(files)
    os.utime(files.parent)  # so that it counts as used
    return BootFiles(kernel, injector, files)


def pack_code(built: BootFiles) -> bytes:
    """Return the archive of the project's code that runs on rigs, and of the machine's init."""
    folders, parts = {Path("code")}, []
    for name in CODE:
        paths = [ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*"))
        for path in paths:
            if path.suffix in (".py", ".json"):
                target = Path("code") / path.relative_to(ROOT)
                folders.update(target.parents)
                parts.append(archive.pack_entry(str(target), archive.FILE, path.read_bytes()))
    folders.discard(Path())
    made = [archive.pack_entry(str(folder), archive.FOLDER) for folder in sorted(folders)]
    for name, mode, path in (
        ("init", archive.PROGRAM, GUEST / "init"),
        ("code/serve.py", archive.FILE, GUEST / "serve.py"),
        ("code/inject.py", archive.FILE, GUEST / "inject.py"),
        (INJECTOR, archive.FILE, built.injector),
    ):
        parts.append(archive.pack_entry(name, mode, path.read_bytes()))
    return b"".join([*made, *parts, archive.pack_end()])


def _kernel_package() -> str:
    """Return the package with the newest kernel, which KERNEL depends on."""
    shown = subprocess.run(
        ["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=False
    ).stdout
    match = re.search(r"Depends: (linux-image-\S*\d\S*)", shown)
    if not match:
        raise LabError(f"apt does not know {KERNEL}.", "Try: apt-get update")
    return match.group(1)


def _only(folder: Path, pattern: str) -> Path:
    """Return the one file of a package that matches a pattern."""
    files = list(folder.glob(pattern))
    if len(files) != 1:
        raise LabError(f"The kernel's package should have one {pattern}, and has {len(files)}.")
    return files[0]


def _build(files: Path) -> None:
    with tempfile.TemporaryDirectory(dir=files.parent.parent, prefix="draft-") as name:
        draft = Path(name)
        log = lab_image.cache() / "build-qemu.log"
        base.bootstrap(base.find(), draft / "root", PACKAGES, "extract", log)
        (draft / files.name).write_bytes(archive.pack_folder(draft / "root", NOT_NEEDED))
        files.parent.mkdir(exist_ok=True)
        (draft / files.name).replace(files)  # in one step, in case another process builds it now
