"""The repositories of a rig: built once with the image, signed, the vendor's served per rig.

pool/         the vendor's packages
full/ …       an index for each row of `indexes` in vendor/packages.yml
badsig/       the index `full`, signed by another key
expired/      an index signed by a key that has expired, with the key
sha1/         the index `full`, signed by a key that only SHA-1 binds, with the key
kernel/       the distribution's packages that the vendor's need, with pool and index, for the
              rig's disk; in contrib/ and non-free/ the same for these components
rest/         what the image gets without a repository: the .run file's driver, programs
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any

from lab.build import dkms, vendor_table
from lab.build.packaging import Key, PackageRecipe, Release, build_deb, fill, write_index
from lab.build.vendor_table import PackageRow
from lab.errors import LabError
from lab.simulate import compile as nvml

VENDOR = Path(__file__).parent / "vendor"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
CURRENT = "nvidia/current"
SETTINGS = PackageRecipe("nvidia-settings", "525.85.05-1")  # mining systems hold it
#: What apt shows of the vendor's repository: `release o=NVIDIA,l=NVIDIA CUDA,c=`.
NVIDIA = Release("NVIDIA", "NVIDIA CUDA")
KERNEL = Release("Lab", "Lab kernel")
CONTRIB = Release("Lab", "Lab contrib")
NON_FREE = Release("Debian", "Debian")
Built = list[tuple[PackageRow, PackageRecipe, Path]]


def build(target: Path, base: Path, release: str, ballast: Mapping[str, int] | None = None) -> None:
    """Build all of it into a new folder.

    base: the system of the rigs. release: its codename. ballast: bytes of random content that
    packages get, by NAME_VERSION.
    """
    table = vendor_table.load_table(release)
    draft = target.with_name(f"{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    pool, kernel_pool = draft / "pool", draft / "kernel/pool"
    contrib_pool, non_free_pool = draft / "kernel/contrib/pool", draft / "kernel/non-free/pool"
    for folder in (pool, kernel_pool, contrib_pool, non_free_pool, draft / "rest/driver"):
        folder.mkdir(parents=True)
    nvml.build_smi(draft / "rest/driver/nvidia-smi")
    kernels = list(vendor_table.list_kernels(table))
    meta = kernels[0].values["meta"]
    with ThreadPoolExecutor() as workers:  # dpkg-deb and gcc are separate processes

        def build_all(rows: Iterable[PackageRow], folder: Path) -> Built:
            make = partial(_build, pool=folder, draft=draft, ballast=ballast or {})
            return list(workers.map(make, rows))

        vendor = build_all(vendor_table.list_vendor_rows(table), pool)
        kernel = build_all(kernels, kernel_pool)
        contrib = build_all(
            (vendor_table.fill_row(row, {}) for row in table["contrib"]), contrib_pool
        )
        non_free = build_all(vendor_table.list_distribution_driver(table), non_free_pool)
    vendor_dkms, own_dkms = dkms.build(table["dkms"], meta, base, (pool, kernel_pool))
    vendor.append(vendor_dkms)
    kernel.append(own_dkms)
    _sign(draft, table, vendor, {"": kernel, "contrib": contrib, "non-free": non_free})
    _build_rest(draft / "rest", table["as_bought"])
    draft.rename(target)


def provide(packages: Path, root: Path, work: Path) -> None:
    """Add to an image what a rig has when it is bought."""
    folder = "/usr/share/kernel-packages"
    shutil.copytree(packages / "kernel", root / folder.lstrip("/"))
    entry = f"deb [signed-by={folder}/key.asc] file:{folder}"
    (root / "etc/apt/sources.list.d/kernel.list").write_text(f"{entry} ./\n{entry}/contrib ./\n")
    shutil.copytree(packages / "rest", work, symlinks=True, dirs_exist_ok=True)


def _build(
    row: PackageRow, pool: Path, draft: Path, ballast: Mapping[str, int]
) -> tuple[PackageRow, PackageRecipe, Path]:
    package = PackageRecipe(row.row["name"], row.row["version"], row.relations)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        if "files" in row.row:
            fill(tree, VENDOR / "files" / row.row["files"], row.values)
        _build_binary(row, tree, draft)
        script = tree / "DEBIAN/postinst"
        script.parent.mkdir(exist_ok=True)
        body = script.read_text() if script.exists() else ""
        script.write_text((VENDOR / "postinst.head").read_text() + body)
        script.chmod(0o755)
        if size := ballast.get(f"{package.name}_{package.version.split('-')[0]}"):
            weight = tree / "usr/share" / package.name / "ballast"
            weight.parent.mkdir(parents=True)
            weight.write_bytes(os.urandom(size))
        return row, package, build_deb(package, tree, pool)


def _build_binary(row: PackageRow, tree: Path, draft: Path) -> None:
    """Add the library or the program of a package. The driver's are behind alternatives."""
    kind, version = row.row.get("build", ""), row.values.get("v", "")
    libraries = tree / LIBRARIES
    if kind == "smi":
        folder = tree / "usr/lib/nvidia/current"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(draft / "rest/driver/nvidia-smi", folder)
    elif kind == "nvml":
        cuda = int(row.values["cuda"])
        folder = libraries / CURRENT
        nvml.build_library(folder / f"libnvidia-ml.so.{version}", version, cuda)
        (folder / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")
    elif kind == "libcuda":
        library = libraries / CURRENT / f"libcuda.so.{version}"
        _compile("libcuda", library, "libcuda.so.1", f"CUDA={row.values['cuda']}")
    elif kind == "nccl":
        major, minor, patch = map(int, version.split("."))
        number = major * 10000 + minor * 100 + patch
        library = libraries / f"libnccl.so.{version}"
        _compile("libnccl", library, "libnccl.so.2", f"VERSION={number}")


def _compile(name: str, target: Path, soname: str, define: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{soname}",
            f"-D{define}",
            "-o",
            str(target),
            str(VENDOR / f"{name}.c"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"Compiling {name} failed:\n{done.stderr}")
    (target.parent / soname).symlink_to(target.name)


def _sign(draft: Path, table: dict[str, Any], vendor: Built, components: dict[str, Built]) -> None:
    key, other, expired, bound_by_sha1 = (
        Key("Lab vendor <vendor@lab.example>"),
        Key("Another vendor <other@lab.example>"),
        Key("A third party <third@lab.example>", year=2020),
        Key("A vendor of long ago <old@lab.example>", digest="SHA1"),
    )
    # The same for all indexes, because a rig may switch between them.
    date = formatdate(usegmt=True)
    every_driver = [driver["v"] for driver in table["drivers"]]
    for name, drivers in table["indexes"].items():
        offered = [
            (package, file)
            for row, package, file in vendor
            if vendor_table.is_in_index(row, drivers, every_driver)
        ]
        write_index(draft / name, offered, key, NVIDIA, date)
        if name == "full":
            write_index(draft / "badsig", offered, other, NVIDIA, date)
            write_index(draft / "expired", offered[:1], expired, KERNEL, date)
            (draft / "expired/expired.asc").write_text(expired.export())
            write_index(draft / "sha1", offered, bound_by_sha1, NVIDIA, date)
            (draft / "sha1/key.asc").write_text(bound_by_sha1.export())
            (draft / "sha1/fingerprint").write_text(f"{bound_by_sha1.fingerprint}\n")
    for component, release in (("", KERNEL), ("contrib", CONTRIB), ("non-free", NON_FREE)):
        pairs = [(package, file) for _, package, file in components[component]]
        write_index(draft / "kernel" / component, pairs, key, release, date)
    (draft / "kernel/key.asc").write_text(key.export())
    (draft / "key.asc").write_text(key.export())
    (draft / "fingerprint").write_text(f"{key.fingerprint}\n")
    for signer in (key, other, expired, bound_by_sha1):
        signer.close()


def _build_rest(rest: Path, driver: dict[str, Any]) -> None:
    shutil.copytree(VENDOR / "run", rest / "driver", dirs_exist_ok=True)
    nvml.build_library(rest / "driver/libnvidia-ml.so", driver["v"], driver["cuda"])
    (rest / "driver/version").write_text(f"{driver['v']}\n")
    nvml.build_miner(rest / "fake-miner")
    nvml.build_preload(rest / "clock.so")
    nvml.build_preload(rest / "slow.so")
    with tempfile.TemporaryDirectory() as folder:
        build_deb(SETTINGS, Path(folder), rest / "driver")
