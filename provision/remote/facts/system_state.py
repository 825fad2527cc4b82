"""What the agent, which is not root, checks of kernels and packages, written to a file by root.

deeprig-system-state.service runs it as `python3 -m provision.remote.facts.system_state FILE`; the
agent reads the file (agent/readings/system.py). While another program changes packages nothing is
written: what it has not finished yet is not a fault.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import Any

from provision.remote import dpkg
from provision.remote.facts.apt_state import read_package_lists
from provision.remote.facts.boot import boot
from provision.remote.facts.driver import driver, list_versions
from provision.remote.facts.driver_packages import DriverPackageRow, read_driver_packages
from provision.remote.facts.kernels import read_kernels
from provision.remote.facts.package_state import (
    find_holds,
    find_lock_holder,
    find_unfinished,
    is_interrupted,
)
from provision.remote.facts.tree import Tree
from provision.remote.host import ModuleHost

FORMAT, FORMAT_VERSION = "deeprig-system-state", 1
#: Of the driver's family, packages of tools and firmware helpers have other versions.
DRIVER_VERSION = re.compile(r"(?:\d+:)?(\d{3})\.\d")
#: Libraries for programs of a newer CUDA: their branch is not the driver's.
COMPATIBILITY = "cuda-compat"


def read_system_state(tree: Tree, packages: dpkg.Database) -> dict[str, Any]:
    """Return the state as a document of the format."""
    _, lists = read_package_lists(tree, packages)
    state = driver(tree, packages)
    state["packages"] = read_driver_packages(tree, packages, lists)
    menu, running = boot(tree), tree.line("/proc/sys/kernel/osrelease")
    kernels = read_kernels(tree, packages, menu, running, list_versions(state))
    holds = set(find_holds(packages))
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "written_at": time.time(),
        "library_version": state["library_version"],
        "kernels": [
            {
                "release": kernel["release"],
                "default": kernel["default"],
                "module_version": kernel["nvidia_modules"],
            }
            for kernel in kernels
            if kernel["bootable"] or kernel["default"]
        ],
        "driver_packages": [
            {
                "name": package["name"],
                "branch": branch,
                "origin": package["origin"],
                "held": package["name"] in holds,
            }
            for package in state["packages"]
            for branch in [_branch(package)]
            if branch
        ],
        "unfinished": [
            " ".join(filter(None, (row["package"], row["version"], f"({row['state']})")))
            for row in find_unfinished(tree, packages)
        ],
        "interrupted": is_interrupted(tree),
    }


def write_system_state(tree: Tree, packages: dpkg.Database, path: str) -> bool:
    """Write the state to a file, whole or not at all; return False while packages change."""
    if find_lock_holder(tree):
        return False
    document = read_system_state(tree, packages)
    draft = f"{path}.new"
    with open(draft, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
        stream.write("\n")
    os.chmod(draft, 0o644)
    os.replace(draft, path)
    return True


def _branch(package: DriverPackageRow) -> int:
    match = DRIVER_VERSION.match(package["version"] or "")
    is_driver = match and not package["name"].startswith(COMPATIBILITY)
    return int(match.group(1)) if match and is_driver else 0


if __name__ == "__main__":
    if not write_system_state(Tree(), dpkg.database(ModuleHost()), sys.argv[1]):
        print("Another program changes packages: the state is read the next time.")
