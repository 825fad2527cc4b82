"""A control group of each rig's own, in the hierarchies that systemd manages.

systemd-nspawn puts the container into `payload` below the group of its caller. Rigs of one caller
would share that group: each one's systemd creates, empties and removes the same
`system.slice/NAME.service`, and a start that comes between fails with 219/CGROUP.
Root of a machine with cgroup v1, with cgroup v2 or with both can run rigs; see cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

#: Where systemd mounts its own v1 hierarchy, and where cgroup v2 is mounted: hybrid, unified.
MOUNTS = {
    "name=systemd": (Path("/sys/fs/cgroup/systemd"),),
    "": (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")),
}


def find_groups(text: str) -> list[Path]:
    """Return the folders of a process's groups; `text` is its /proc/PID/cgroup.

    >>> find_groups("5:devices:/\\n")
    []
    """
    groups = []
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for mount in MOUNTS.get(controllers, ()):
            folder = mount / path.lstrip("/")
            if (folder / "cgroup.procs").exists():
                groups.append(folder)
                break
    return groups


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Run the block, and what it starts, in a group of that name below the present one.

    The group is removed after the block; what still runs in it keeps it.
    """
    outer = find_groups(Path("/proc/self/cgroup").read_text())
    for group in outer:
        inner = group / name
        inner.mkdir(exist_ok=True)
        _move_here(inner)
    try:
        yield
    finally:
        for group in outer:
            _move_here(group)
            _remove(group / name)


def _move_here(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _remove(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # busy, or a file of the kernel's own
            Path(folder).rmdir()
