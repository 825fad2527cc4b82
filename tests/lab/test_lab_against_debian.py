"""The lab's driver packages beside Debian's real ones: the same links lead to the same places."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lab.rigs.machine import Rig
from lab.simulate import states

pytestmark = pytest.mark.extended
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LINKS = (
    f"{LIBRARIES}/libnvidia-ml.so.1",
    f"{LIBRARIES}/libcuda.so.1",
    "/usr/bin/nvidia-smi",
    "/etc/modprobe.d/nvidia.conf",
    "/etc/modprobe.d/nvidia-blacklists-nouveau.conf",
)
FOLLOW = """
path=%s
while [ -L "$path" ]; do
    target=$(readlink "$path")
    case $target in /*) path=$target ;; *) path=${path%%/*}/$target ;; esac
    echo "$path"
done
"""


def follow_links(rig: Rig, path: str) -> list[str]:
    """Return where each link of a chain leads, without the driver's version."""
    places = rig.run(FOLLOW % path).stdout.split()
    # Settings are in a folder that is called by the version; in the lab it is called `current`.
    return [
        re.sub(r"\d{3}\.\d+(\.\d+)?", "", re.sub(r"nvidia-\d{3}[\d.]*/", "current/", place))
        for place in places
    ]


def list_install_lines(rig: Rig) -> set[str]:
    """Return the `install` lines of the module that the product loads."""
    text = rig.run("cat /etc/modprobe.d/nvidia.conf").stdout
    return {line for line in text.splitlines() if re.match(r"install nvidia(-uvm)? ", line)}


def test_links_of_the_labs_packages_are_those_of_debians(make_rig: Callable[..., Rig]) -> None:
    real, simulated = make_rig("test58", flavour="clean"), make_rig("test59", flavour="clean")
    states.lay(real, "public-libraries")
    states.lay(simulated, "distribution-driver")
    for link in LINKS:
        chain = [
            place.replace("/etc/nvidia//", "/etc/nvidia/current/")
            for place in follow_links(real, link)
        ]
        assert follow_links(simulated, link) == chain
        assert len(chain) > 1
    assert list_install_lines(simulated) == list_install_lines(real) != set()
    for rig in (real, simulated):
        assert rig.run(f"dpkg -S {LINKS[0]} {LINKS[2]}", check=False).stdout == ""
        owner = rig.run(f"dpkg -S $(readlink -f {LINKS[0]})").stdout
        assert owner.startswith("libnvidia-ml1")
        rig.discard()
