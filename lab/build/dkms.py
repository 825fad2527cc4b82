"""The DKMS of the rigs' distribution as the lab's packages, with fewer dependencies.

The real one needs a compiler and 60 MB of downloads; the lab's modules are text.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from lab.build.packaging import PackageRecipe, pack
from lab.build.vendor_table import PackageRow
from lab.errors import LabError

BuiltPackage = tuple[PackageRow, PackageRecipe, Path]


def build(
    row: dict[str, str], meta: str, base: Path, pools: tuple[Path, Path]
) -> tuple[BuiltPackage, BuiltPackage]:
    """Build the vendor's and the distribution's package, each into its pool.

    row: `dkms` of vendor/packages.yml. meta: how the names of kernel metapackages end. base: the
    system of the rigs, whose package lists have the original.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(["apt-get", "-q", *list_apt_options(base, folder), "download", "dkms"], folder)
        (original,) = folder.glob("dkms_*.deb")
        version = _run(["dpkg-deb", "--field", str(original), "Version"], folder).strip()
        recommends = row["recommends"].format(meta=meta)
        built: list[BuiltPackage] = []
        for number, pool in zip((row["vendor"], row["distribution"]), pools, strict=True):
            relations = {"Depends": "kmod", "Recommends": recommends}
            package = PackageRecipe("dkms", number.format(original=version), relations)
            tree = folder / f"tree-{len(built)}"
            _run(["dpkg-deb", "--raw-extract", str(original), str(tree)], folder)
            (tree / "DEBIAN/control").write_text(package.control())
            target = pool / package.file_name.replace(":", "%3a")
            empty = PackageRow({"name": "dkms", "version": package.version}, {})
            built.append((empty, package, pack(tree, target)))
    return built[0], built[1]


def list_apt_options(base: Path, scratch: Path) -> list[str]:
    """List apt's options for the sources and lists of a system in a folder, and for its caches."""
    places = {
        "Dir::Etc::SourceList": base / "etc/apt/sources.list",
        "Dir::Etc::SourceParts": base / "etc/apt/sources.list.d",
        "Dir::State": base / "var/lib/apt",
        "Dir::State::Status": base / "var/lib/dpkg/status",
        "Dir::Cache": scratch,
        "APT::Sandbox::User": "root",
    }
    return [word for name, place in places.items() for word in ("-o", f"{name}={place}")]


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = re.sub(r"^W:.*\n", "", done.stderr, flags=re.MULTILINE).strip()
        raise LabError(f"`{' '.join(command)}` failed: {reason}", "Try: apt-get update")
    return done.stdout
