"""The vendor's repository: built once with the image, indexed in three ways, served per rig.

pool/       the packages
full/       the index of all of them
old/        the same before the newest driver was published
badsig/     the whole index, signed by another key
kernel/     the distribution's own packages that the vendor's need, with pool and index
rest/       what the image gets without a repository: the .run file's driver, the fake miner
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import yaml

from lab.build.packaging import Key, PackageRecipe, build_deb, fill, write_index
from lab.errors import LabError
from lab.simulate import compile as nvml

HERE = Path(__file__).parent
VENDOR = HERE / "vendor"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
SETTINGS = PackageRecipe("nvidia-settings", "525.85.05-1")  # mining systems hold it
Built = list[tuple[PackageRecipe, Path]]


def build(target: Path) -> None:
    """Build all of it into a new folder."""
    table: dict[str, Any] = yaml.safe_load((VENDOR / "packages.yml").read_text())
    draft = target.with_name(f"{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    pool, kernel_pool = draft / "pool", draft / "kernel/pool"
    for folder in (pool, kernel_pool, draft / "rest/driver"):
        folder.mkdir(parents=True)
    nvml.build_smi(draft / "rest/driver/nvidia-smi")
    packages = [_build(row, values, pool, draft) for row, values in _vendor_rows(table)]
    kernel = [
        _build(row, {"release": os.uname().release}, kernel_pool, draft) for row in table["kernel"]
    ]
    _sign(draft, packages, kernel, f"{table['newest']}-1")
    _build_rest(draft / "rest", table["as_bought"])
    draft.rename(target)


def provide(packages: Path, root: Path, work: Path) -> None:
    """Add to an image what a rig has when it is bought."""
    kernel = root / "usr/share/kernel-packages"
    shutil.copytree(packages / "kernel", kernel)
    (root / "etc/apt/sources.list.d/kernel.list").write_text(
        "deb [signed-by=/usr/share/kernel-packages/key.asc] file:/usr/share/kernel-packages ./\n"
    )
    shutil.copytree(packages / "rest", work, symlinks=True, dirs_exist_ok=True)


def _vendor_rows(table: dict[str, Any]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    for driver in table["drivers"]:
        branch = driver["v"].split(".")[0]
        values = {**driver, "branch": branch, "after": str(int(branch) + 1)}
        for row in table["each_driver"]:
            yield {"version": "{v}-1", **row}, values
    for toolkit in table["toolkits"]:
        for row in table["each_toolkit"]:
            yield {"version": "{v}-1", **row}, toolkit
    for nccl in table["nccl"]:
        for row in table["each_nccl"]:
            yield {"version": "{v}-1+cuda{cuda}", **row}, nccl


def _build(
    row: dict[str, str], values: dict[str, Any], pool: Path, draft: Path
) -> tuple[PackageRecipe, Path]:
    filled = {key: value.format(**values) for key, value in row.items()}
    relations = {
        key.title(): filled[key] for key in ("depends", "conflicts", "provides") if key in filled
    }
    if "conflicts" in filled:
        relations["Replaces"] = filled["conflicts"]
    package = PackageRecipe(filled["name"], filled["version"], relations)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        if "files" in filled:
            texts = {key: str(value) for key, value in values.items()}
            fill(tree, VENDOR / "files" / filled["files"], texts | {"version": texts.get("v", "")})
        _build_binary(filled.get("build", ""), tree, values, draft)
        script = tree / "DEBIAN/postinst"
        script.parent.mkdir(exist_ok=True)
        body = script.read_text() if script.exists() else ""
        script.write_text((VENDOR / "postinst.head").read_text() + body)
        script.chmod(0o755)
        return package, build_deb(package, tree, pool)


def _build_binary(kind: str, tree: Path, values: dict[str, Any], draft: Path) -> None:
    version = values.get("v", "")
    libraries = tree / LIBRARIES
    if kind == "smi":
        (tree / "usr/bin").mkdir(parents=True)
        shutil.copy(draft / "rest/driver/nvidia-smi", tree / "usr/bin")
    elif kind == "nvml":
        nvml.build_library(libraries / f"libnvidia-ml.so.{version}", version, values["cuda"])
        (libraries / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")
    elif kind == "libcuda":
        _compile(
            "libcuda", libraries / f"libcuda.so.{version}", "libcuda.so.1", f"CUDA={values['cuda']}"
        )
    elif kind == "nccl":
        major, minor, patch = map(int, version.split("."))
        _compile(
            "libnccl",
            libraries / f"libnccl.so.{version}",
            "libnccl.so.2",
            f"VERSION={major * 10000 + minor * 100 + patch}",
        )


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


def _sign(draft: Path, packages: Built, kernel: Built, newest: str) -> None:
    vendor, other = (
        Key("Lab vendor <vendor@lab.example>"),
        Key("Another vendor <other@lab.example>"),
    )
    date = formatdate(
        usegmt=True
    )  # the same for all indexes, because a rig may switch between them
    write_index(draft / "full", packages, vendor, "NVIDIA", date)
    before = [pair for pair in packages if pair[0].version != newest]
    write_index(draft / "old", before, vendor, "NVIDIA", date)
    write_index(draft / "badsig", packages, other, "NVIDIA", date)
    write_index(draft / "kernel/index", kernel, vendor, "Lab kernel", date)
    for file in (draft / "kernel/index").iterdir():
        file.rename(draft / "kernel" / file.name)
    (draft / "kernel/index").rmdir()
    (draft / "kernel/key.asc").write_text(vendor.export())
    (draft / "key.asc").write_text(vendor.export())
    (draft / "fingerprint").write_text(f"{vendor.fingerprint}\n")
    vendor.close()
    other.close()


def _build_rest(rest: Path, driver: dict[str, Any]) -> None:
    shutil.copytree(VENDOR / "run", rest / "driver", dirs_exist_ok=True)
    nvml.build_library(rest / "driver/libnvidia-ml.so", driver["v"], driver["cuda"])
    (rest / "driver/version").write_text(f"{driver['v']}\n")
    nvml.build_miner(rest / "fake-miner")
    with tempfile.TemporaryDirectory() as folder:
        build_deb(SETTINGS, Path(folder), rest / "driver")
