"""A layer of the lab's image that is provisioned already: what many tests start from.

The first test that needs it provisions a rig and keeps the rig's changes as a layer in the image
cache. Its name is a hash of the code and the settings that made it, so a change of those makes
another one. A rig that boots from it is provisioned again, which adapts it to its own address.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lab.build import image
from lab.build.image import RigImage
from lab.rigs.machine import Rig
from tests.lab.operator import ROOT, fab

NAME = "test90"
#: What of the project provisioning reads, beside the image.
SOURCES = (
    *("agent", "playbooks", "provision", "tests/rig", "fabfile.py", "lab/build/wheels.py"),
    *("inventory/group_vars", "inventory/hardware", "inventory/models"),
)
KEPT_SECONDS = 3600
#: What of a provisioned rig must not be the same on the next one.
OF_ONE_RIG = ("etc/ssh/ssh_host_*", "etc/machine-id", "var/log/journal/*")


def ensure_provisioned(bought: RigImage, write_inventory: Callable[..., Path]) -> RigImage:
    """Return the image with the provisioned layer, which is made first if it is missing."""
    name = f"provisioned-{image.fingerprint(*map(str, bought.layers), *_source_hashes())}"
    layer = image.cache() / name
    with (image.cache() / "provisioned.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may build it now
        if not layer.is_dir():
            _remove_old_layers()
            _provision(layer, bought, write_inventory)
    return RigImage((layer, *bought.layers), bought.repository, bought.flavour)


def _provision(layer: Path, bought: RigImage, write_inventory: Callable[..., Path]) -> None:
    rig = Rig(NAME)
    rig.up(fresh=True, image=bought)
    result = fab(write_inventory(rig), NAME, "provision", seconds=400)
    assert result.status == 0, result.text
    rig.down()
    upper = rig.folder / "upper"
    for pattern in OF_ONE_RIG:
        for path in upper.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    draft = layer.with_name(f"{layer.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    # cp keeps the devices and attributes by which the layer marks removed files.
    subprocess.run(["cp", "-a", "--reflink=auto", str(upper), str(draft)], check=True)
    draft.rename(layer)
    rig.discard()


def _remove_old_layers() -> None:
    """Delete the layers of other versions: each is over a gigabyte.

    Those that a rig runs on stay, and new ones: tests of another checkout are about to use them.
    """
    mounts = Path("/proc/mounts").read_text()
    for folder in image.cache().glob("provisioned-*"):
        is_new = time.time() - folder.stat().st_ctime < KEPT_SECONDS
        if folder.is_dir() and not is_new and folder.name not in mounts:
            shutil.rmtree(folder)


def _source_hashes() -> Iterator[str]:
    for name in SOURCES:
        for file in image.files(ROOT / name):
            if "__pycache__" not in file.parts and file.suffix != ".pyc":
                yield image.describe_file(file, ROOT)
