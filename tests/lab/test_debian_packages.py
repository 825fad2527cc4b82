"""Debian's own driver, really built: its packages, compiler, headers, and how all of it fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.build import debs, host
from lab.rigs.machine import Rig
from lab.simulate import states
from tests.lab.operator import STEPS, FabResult, assert_apt_works, fab, reboot

# It downloads 300 MB once, and compiles the driver's modules: minutes.
pytestmark = pytest.mark.extended

NAME = "test45"
SOURCE = ("-e", "nvidia_driver_source=distribution")
LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
#: The driver that Debian keeps for cards that 535 no longer drives; it may be beside 535.
LEGACY = "nvidia-tesla-470"


#: Unpacks headers of backports and the source of the older driver, and lets DKMS build it for them.
TOO_NEW = f"""
cd /etc/apt/sources.list.d
sed -n '/^deb http/ {{ s, bookworm , bookworm-backports ,p; q }}' *.list >backports.list
sed -i 's/ main.*/ main contrib non-free/' backports.list
apt-get -q update >/dev/null 2>&1
mkdir /root/new && cd /root/new
release=$(apt-cache pkgnames linux-headers-6.12 | grep 'deb12-amd64$' | sort -V | tail -n 1)
release=${{release#linux-headers-}} abi=${{release%-amd64}}
source=$(apt-cache madison {LEGACY}-kernel-dkms | awk '$3 ~ /deb12/ {{ print $3 }}' | tail -n 1)
apt-get -q download linux-headers-$release linux-headers-$abi-common linux-kbuild-$abi \
    {LEGACY}-kernel-dkms=$source >/dev/null 2>&1
for file in *.deb; do dpkg -x $file tree; done
cp -a tree/usr/. /usr/ && cp -a tree/lib/. /usr/lib/
mkdir /lib/modules/$release/kernel
dkms add -m {LEGACY} -v 470.256.02 >/dev/null 2>&1
dkms build -m {LEGACY} -v 470.256.02 -k $release >/dev/null 2>&1
echo $release
"""


@pytest.fixture(scope="module")
def target(make_rig: Callable[..., Rig]) -> Iterator[Rig]:
    """A plain rig that runs Debian's kernel; every package is Debian's."""
    rig = make_rig(NAME, flavour="clean")
    with debs.keep_downloads(rig.root, host.read_codename()):
        states.lay(rig, "public-kernel")
        reboot(rig)
        yield rig
    rig.discard()


@pytest.fixture(scope="module", autouse=True)
def base(target: Rig, inventory: Path) -> None:
    result = fab(inventory, NAME, "provision", "--tags", "demine,base", *SOURCE, seconds=400)
    assert result.status == 0, result.text


def play(inventory: Path, *words: str) -> FabResult:
    return fab(inventory, NAME, "play", STEPS / "driver.yml", *SOURCE, *words, seconds=900)


def read(rig: Rig, command: str) -> str:
    return rig.run(command).stdout.strip()


def read_facts(inventory: Path) -> dict[str, Any]:
    result = fab(inventory, NAME, "facts", "--json")
    assert result.status == 0, result.text
    facts: dict[str, Any] = json.loads(result.stdout)[NAME]["ansible_local"]["deeprig"]
    return facts


def find_kernel(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of the kernel that boots next."""
    (kernel,) = [row for row in facts["kernels"] if row["default"]]
    return dict(kernel)


def test_rig_runs_debians_kernel_with_its_headers(target: Rig, inventory: Path) -> None:
    release = read(target, "uname -r")
    kernel = find_kernel(read_facts(inventory))
    assert kernel["release"] == release
    assert kernel["package"] == f"linux-image-{release}"
    assert kernel["headers"] is True
    assert read(target, f"dpkg-query -W -f '${{Maintainer}}' linux-image-{release}").startswith(
        "Debian Kernel Team"
    )


def test_missing_compiler_is_the_reason_and_apt_works_afterwards(
    target: Rig, inventory: Path
) -> None:
    target.run("mv /usr/bin/gcc-12 /usr/bin/gcc-12.away")
    result = play(inventory)
    target.run("mv /usr/bin/gcc-12.away /usr/bin/gcc-12")
    assert result.status == 2, result.text
    result.assert_shows("The packages are not installed", "could not be built", "gcc-12")
    assert_apt_works(target)
    packages = read_facts(inventory)["driver"]["packages"]
    assert [row for row in packages if row["state"] != "installed"] == []
    assert "nvidia-kernel-dkms" not in {row["name"] for row in packages}


def test_kernel_that_is_too_new_is_the_reason(target: Rig, inventory: Path) -> None:
    """The older driver really compiled, until it asks a function that kernel 6.12 no longer has."""
    release = target.run(TOO_NEW).stdout.split()[-1]
    (kernel,) = [row for row in read_facts(inventory)["kernels"] if row["release"] == release]
    target.run(
        f"dkms remove {LEGACY}/470.256.02 --all; rm -r /usr/src/{LEGACY}-* /lib/modules/{release}"
        " /usr/src/linux-headers-6.12* /usr/lib/linux-kbuild-6.12* /root/new"
        " /etc/apt/sources.list.d/backports.list; apt-get -q update"
    )
    assert "error: implicit declaration of function" in kernel["build_error"]
    assert max(map(len, kernel["build_error"].splitlines())) <= 400


def test_kernel_without_headers_is_not_rebooted_into(target: Rig, inventory: Path) -> None:
    """DKMS does not fail then, and builds nothing."""
    release = read(target, "uname -r")
    target.run(f"mv /lib/modules/{release}/build /root/build")
    result = play(inventory)
    target.run(f"mv /root/build /lib/modules/{release}/build")
    assert result.status == 2, result.text
    result.assert_shows(f"The kernel {release}, which boots next, has no module")
    assert_apt_works(target)


def test_module_is_built_and_proved(target: Rig, inventory: Path) -> None:
    """By the same command, once the headers are back; a person has cleared DKMS' tree meanwhile."""
    target.run("rm -rf /var/lib/dkms/nvidia-current")
    result = play(inventory)
    assert result.status == 0, result.text
    release, facts = read(target, "uname -r"), read_facts(inventory)
    version = read(target, f"modinfo -k {release} -F version nvidia-current")
    assert version.startswith("535.")
    assert read(target, f"modinfo -k {release} -F vermagic nvidia-current").startswith(release)
    assert find_kernel(facts)["nvidia_modules"] == version
    driver = facts["driver"]
    assert (driver["library_version"], driver["library_owner"]) == (version, "package")
    assert {row["origin"] for row in driver["packages"]} == {"distribution"}
    assert_apt_works(target)
    play(inventory).assert_shows("changed=0")


def test_older_driver_beside_it_is_read_and_not_used(target: Rig, inventory: Path) -> None:
    version = read_facts(inventory)["driver"]["library_version"]
    target.run(
        "DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends"
        f" {LEGACY}-smi lib{LEGACY}-ml1 {LEGACY}-kernel-support >/dev/null 2>&1"
    )
    # The newest is chosen by itself; a person chose the older one.
    assert read(target, f"readlink -f {LIBRARY}").endswith(version)
    target.run(f"update-alternatives --set nvidia /usr/lib/nvidia/{LEGACY.removeprefix('nvidia-')}")
    driver = read_facts(inventory)["driver"]
    versions = {row["name"]: row["version"] for row in driver["packages"]}
    assert versions[f"lib{LEGACY}-ml1"].startswith("470.")
    assert versions["libnvidia-ml1"].startswith(f"{version}-")
    assert {row["origin"] for row in driver["packages"]} == {"distribution"}
    assert driver["library_version"].startswith("470.")
    assert driver["library_owner"] == "package"
    fab(inventory, NAME, "assess").assert_shows("set by hand", "tesla-470")
    result = play(inventory)
    assert result.status == 0, result.text
    assert read_facts(inventory)["driver"]["library_version"] == version
    assert read(target, f"readlink -f {LIBRARY}").endswith(version)
    play(inventory).assert_shows("changed=0")
