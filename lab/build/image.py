"""The image of a lab rig: Debian from this machine's package sources, set up as a mining system.

It has three layers, each named after a hash of its ingredients. The base takes a minute and changes
rarely. The hardware takes seconds, and so does a flavour, which is built when it is first needed. A
rig is one more layer on top.

`python -m lab.build.image` builds the default image where the lab can run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.build import flavour, host, repository
from lab.build.base import BaseSystem
from lab.build.base import find as find_base
from lab.build.flavour import Flavour
from lab.errors import LabError
from lab.report import run, say, step
from provision.paths import cache_folder

HERE = Path(__file__).parent
LAB = HERE.parent
#: The ingredients of the hardware's layer, besides the machine's package sources.
INGREDIENTS = (
    *("build/rootfs", "build/vendor", "build/setup.sh", "build/replaced-programs.txt"),
    *("build/image.py", "build/repository.py", "build/packaging.py", "build/vendor_table.py"),
    *("build/dkms.py", "build/base.py"),
    *("simulate/nvml", "simulate/compile.py", "simulate/fake-miner.c", "simulate/clock.c"),
    "simulate/slow.c",
)

KEPT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class RigImage:
    """What a rig starts from: the layers, the uppermost first, and the vendor's repository."""

    layers: tuple[Path, ...]
    repository: Path
    flavour: str


def cache() -> Path:
    """Return the folder of the images."""
    return cache_folder() / "lab"


def ensure(name: str = flavour.DEFAULT) -> RigImage:
    """Return the image of a flavour; build what is not in the cache."""
    wanted = flavour.find(name)
    if problem := host.unusable():
        raise problem
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("Waiting for another lab.up to build the image", usual="under a minute"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        return _ensure(wanted)


def _ensure(wanted: Flavour) -> RigImage:
    release = find_base(wanted.release)
    lines = release.lines().rstrip("\n")
    base = cache() / f"base-{fingerprint(lines, host.read_apt_options(), *release.packages)}"
    log = cache() / "build.log"
    log.write_text("")
    if not base.is_dir():
        with step("Building the base system", usual="under a minute"):
            _build_base(base, release, log)
    ingredients = [file for name in INGREDIENTS for file in files(LAB / name)]
    recipe = fingerprint(
        *(base.name, os.uname().release, host.read_certificates(), host.read_rig_apt_options()),
        *map(describe_file, ingredients),
    )
    packages, hardware = cache() / f"repository-{recipe}", cache() / f"hardware-{recipe}"
    if not packages.is_dir():
        with step("Building the vendor's packages", usual="some seconds"):
            repository.build(packages, base, release.codename)
    if not hardware.is_dir():
        with step("Adding the hardware of a rig", usual="some seconds"):
            _build_hardware(hardware, base, packages, log)
    layer_print = fingerprint(
        recipe, wanted.name, *map(describe_file, [*wanted.paths(), HERE / "flavour.py"])
    )
    layer = cache() / f"{wanted.name}-{layer_print}"
    if not layer.is_dir():
        with step(f"Making it {wanted.text}", usual="some seconds"):
            _build_flavour(layer, (hardware, base), wanted, log)
    for folder in (base, packages, hardware, layer):
        os.utime(folder)
    _prune()
    return RigImage((layer, hardware, base), packages, wanted.name)


def _prune() -> None:
    """Delete what `ensure` has not returned for a week, unless a rig runs on it."""
    mounts = Path("/proc/mounts").read_text()
    for folder in cache().glob("*-*"):
        unused = time.time() - folder.stat().st_mtime > KEPT_SECONDS
        if folder.is_dir() and unused and folder.name not in mounts:
            shutil.rmtree(folder)


def remove() -> None:
    """Delete every image in the cache."""
    if cache().is_dir():
        say(f"Deleting the images in {cache()}")
        shutil.rmtree(cache())


def _build_base(folder: Path, base: BaseSystem, log: Path) -> None:
    draft = _draft(folder)
    base.build(draft, log)
    draft.rename(folder)


def _build_hardware(layer: Path, base: Path, packages: Path, log: Path) -> None:
    with _new_layer(layer, (base,)) as (root, work):
        shutil.copytree(HERE / "rootfs", root, symlinks=True, dirs_exist_ok=True)
        _carry_settings(root)
        shutil.copy(HERE / "replaced-programs.txt", work)
        repository.provide(packages, root, work)
        _inside(root, (HERE / "setup.sh").read_text(), log, "Setting up the hardware in the image")


def _build_flavour(layer: Path, lower: tuple[Path, ...], wanted: Flavour, log: Path) -> None:
    with _new_layer(layer, lower) as (root, work):
        wanted.provide(work)
        _inside(root, wanted.script(), log, f"Setting up {wanted.name} in the image")


@contextmanager
def _new_layer(layer: Path, lower: tuple[Path, ...]) -> Iterator[tuple[Path, Path]]:
    """Mount a root with a work folder; its changes become the layer."""
    draft = _draft(layer)
    with overlay(draft, lower) as root:
        work = root / "var/tmp/lab"
        work.mkdir(parents=True)
        yield root, work
    (draft / "upper").rename(layer)
    shutil.rmtree(draft)


def _inside(root: Path, script: str, log: Path, what: str) -> None:
    """Run a script as root inside the image."""
    run(
        [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--pipe",
            f"--directory={root}",
            "/bin/sh",
            "-s",
        ],
        log,
        what,
        stdin=script,
    )


def _carry_settings(root: Path) -> None:
    """Copy this machine's settings of apt and pip, with the keys and certificates they trust."""
    apt = root / "etc/apt"
    # mmdebstrap leaves the machine's settings in the image, with those that a rig must not have.
    (apt / "apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (apt / "apt.conf.d/90machine").write_text(host.read_rig_apt_options())
    for ring in host.list_keyrings():
        target = apt / "trusted.gpg.d" / ring.name
        if not target.exists():
            shutil.copy(ring, target)
    for name in ("auth.conf", "auth.conf.d"):
        source = Path("/etc/apt") / name
        if source.is_dir():
            shutil.copytree(source, apt / name, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy(source, apt / name)
    if options := host.read_pip_options():
        rows = [f"{key} = {value}".replace("\n", "\n    ") for key, value in options.items()]
        (root / "etc/pip.conf").write_text("\n".join(["[global]", *rows, ""]))
    if text := host.read_certificates():
        folder = root / "usr/local/share/ca-certificates"
        folder.mkdir(parents=True, exist_ok=True)
        for number, certificate in enumerate(_unknown(text, root)):
            (folder / f"machine-{number}.crt").write_text(certificate)


def _unknown(bundle: str, root: Path) -> Iterator[str]:
    """Yield the certificates of a bundle that the image lacks."""
    installed = "".join(
        file.read_text() for file in (root / "usr/share/ca-certificates").rglob("*.crt")
    )
    end = "-----END CERTIFICATE-----\n"
    for part in bundle.split(end)[:-1]:
        certificate = part[part.index("-----BEGIN") :] + end
        if certificate not in installed:
            yield certificate


@contextmanager
def overlay(folder: Path, lower: tuple[Path, ...]) -> Iterator[Path]:
    """Mount FOLDER/root over the layers; changes go to FOLDER/upper. Unmount it after the block."""
    root = mount_overlay(folder, lower)
    try:
        yield root
    finally:
        unmount(root)


def mount_overlay(folder: Path, lower: tuple[Path, ...]) -> Path:
    """Mount FOLDER/root over the layers, unless it is mounted; return it."""
    root, upper, work = folder / "root", folder / "upper", folder / "work"
    for path in (root, upper, work):
        path.mkdir(parents=True, exist_ok=True)
    if not root.is_mount():
        # A rig sees these options. Relative paths cannot be mistaken for folders of the rig: with
        # state below /tmp, its root would seem to be in the rig's own /tmp, which is in memory.
        layers = ":".join(map(str, lower))
        options = f"lowerdir={layers},upperdir={upper.name},workdir={work.name}"
        run(
            ["mount", "-t", "overlay", "overlay", "-o", options, root],
            folder / "mount.log",
            "Mounting the rig's disk",
            cwd=folder,
        )
    return root


def unmount(root: Path) -> None:
    """Unmount a folder, if it is mounted."""
    if root.is_mount():
        run(["umount", root], root.parent / "mount.log", "Unmounting the rig's disk")


def _draft(path: Path) -> Path:
    draft = path.with_name(f"{path.name}.new")
    if draft.exists():
        unmount(draft / "root")
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    return draft


def files(path: Path) -> list[Path]:
    """List the files of a folder, or the one file that the path names."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() or file.is_symlink())
    if not path.exists():
        raise LabError(f"The lab lacks its own file {path}.")
    return [path]


def describe_file(file: Path, folder: Path = LAB) -> str:
    """Return a file's name below a folder, its mode, and a hash of its content."""
    if file.is_symlink():
        return f"{file.relative_to(folder)} -> {file.readlink()}"
    mode = file.stat().st_mode & 0o111
    return f"{file.relative_to(folder)} {mode} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def fingerprint(*parts: str) -> str:
    """Return a short hash of the parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


if __name__ == "__main__":
    if host.unusable() is None:  # where the lab can't run, its tests report why
        ensure()
