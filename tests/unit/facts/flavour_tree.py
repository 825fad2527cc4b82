"""A lab flavour's files in a folder, as on its rigs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lab.build import flavour
from tests.unit.modules.rig import write_packages


def lay(root: Path, name: str) -> None:
    """Write the files of a flavour, and those of its packages, below a root folder."""
    wanted = flavour.find(name)
    for tree in (*wanted.trees, *wanted.packages):
        shutil.copytree(tree, root, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(root / "DEBIAN", ignore_errors=True)
    controls = ((package / "DEBIAN/control").read_text() for package in wanted.packages)
    versions = {field(text, "Package"): field(text, "Version") for text in controls}
    write_packages(root, versions)
    homes = [f"/home/{path.name}" for path in (root / "home").glob("*")]
    users = "".join(f"u{n}:x:{1000 + n}:1000::{home}:/bin/sh\n" for n, home in enumerate(homes))
    (root / "etc/passwd").write_text(f"root:x:0:0:root:/root:/bin/bash\n{users}")
    # A link into the rig's own root leads, in a folder, into the folder.
    for path in root.rglob("*"):
        if path.is_symlink() and str(path.readlink()).startswith("/"):
            inside = root / str(path.readlink()).lstrip("/")
            if inside.exists():
                path.unlink()
                path.symlink_to(inside)


def field(control: str, name: str) -> str:
    """A field of a package's control file."""
    match = re.search(rf"^{name}: (.*)$", control, re.MULTILINE)
    assert match is not None
    return match.group(1)
