"""The DKMS of this machine's distribution as the lab's packages, with fewer dependencies.

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
    row: dict[str, str], meta: str, vendor_pool: Path, own_pool: Path
) -> tuple[BuiltPackage, BuiltPackage]:
    """Build the vendor's and the distribution's package, each into its pool.

    row: `dkms` of vendor/packages.yml. meta: how the names of kernel metapackages end.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "dkms"], folder)
        (original,) = folder.glob("dkms_*.deb")
        version = _run(["dpkg-deb", "--field", str(original), "Version"], folder).strip()
        recommends = row["recommends"].format(meta=meta)
        built: list[BuiltPackage] = []
        for number, pool in ((row["vendor"], vendor_pool), (row["distribution"], own_pool)):
            relations = {"Depends": "kmod", "Recommends": recommends}
            package = PackageRecipe("dkms", number.format(original=version), relations)
            tree = folder / f"tree-{len(built)}"
            _run(["dpkg-deb", "--raw-extract", str(original), str(tree)], folder)
            (tree / "DEBIAN/control").write_text(package.control())
            target = pool / package.file_name.replace(":", "%3a")
            empty = PackageRow({"name": "dkms", "version": package.version}, {})
            built.append((empty, package, pack(tree, target)))
    return built[0], built[1]


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = re.sub(r"^W:.*\n", "", done.stderr, flags=re.MULTILINE).strip()
        raise LabError(f"`{' '.join(command)}` failed: {reason}", "Try: apt-get update")
    return done.stdout
