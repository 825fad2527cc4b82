"""The lab's repositories are like public ones: names, relations, branches, DKMS, kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.build.vendor_table import next_release
from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.operator import reboot, switching

# The tests of the product fail with the lab; these tell why.
pytestmark = pytest.mark.extended

NAME = "test56"
LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qy"
#: The packages of a driver, which have its version.
FAMILY = "dpkg-query -W -f '${Package} ${Version}\\n' | awk '$2 ~ /^%s/ {print $1}'"


@pytest.fixture(scope="module")
def rig(make_rig: Callable[..., Rig]) -> Iterator[Rig]:
    """A plain Debian rig with the vendor's repository."""
    rig = make_rig(NAME, flavour="clean")
    rig.run(
        f"curl -fsSo /usr/share/keyrings/vendor.asc {rig.vendor_url}/cuda/key.asc; "
        f"echo 'deb [signed-by=/usr/share/keyrings/vendor.asc] {rig.vendor_url}/cuda/ /' "
        ">/etc/apt/sources.list.d/vendor.list; apt-get update 2>&1"
    )
    yield rig
    rig.discard()


@pytest.fixture
def fault(rig: Rig) -> Iterator[Callable[..., None]]:
    """Switch faults on; they are off again after the test."""
    with switching(rig) as switch:
        yield switch


def read(rig: Rig, command: str) -> str:
    return rig.run(command).stdout.strip()


def offer(rig: Rig, fault: Callable[..., None] | None = None, index: str = "") -> None:
    """Select an index of the vendor's repository, and update the lists."""
    if fault is not None:
        fault(index)
    rig.run("apt-get update 2>&1")


class TestRepository:
    """What the vendor's repository offers; nothing is installed."""

    @pytest.fixture(autouse=True)
    def full(self, rig: Rig) -> Iterator[None]:
        yield
        offer(rig)

    def test_origin_is_the_vendors(self, rig: Rig) -> None:
        assert "o=NVIDIA,l=NVIDIA CUDA" in read(rig, "apt-cache policy")

    def test_public_path_serves_the_same(self, rig: Rig) -> None:
        path = f"{rig.vendor_url}/compute/cuda/repos/debian12/x86_64/InRelease"
        assert read(rig, f"curl -fsS {path} | grep ^Label") == "Label: NVIDIA CUDA"

    def test_nccl_is_built_for_several_releases_of_cuda(self, rig: Rig) -> None:
        versions = read(rig, "apt-cache madison libnccl2 | awk '{print $3}'").split()
        assert versions[0] == "2.30.4-1+cuda13.2"
        assert {"2.29.7-1+cuda12.9", "2.29.7-1+cuda13.2", "2.27.3-1+cuda12.4"} <= {*versions}
        assert not {"2.29.7-1+cuda13.0", "2.27.3-1+cuda12.8"} & {*versions}

    def test_branches_from_590_on_have_no_suffixed_names(
        self, rig: Rig, fault: Callable[..., None]
    ) -> None:
        offer(rig, fault, "repo-new")
        pattern = "^(nvidia-open|cuda-drivers)(-[0-9]*)?$"
        names = read(rig, f"apt-cache pkgnames | grep -E '{pattern}'").split()
        assert sorted(names) == sorted(
            f"{name}{suffix}"
            for name in ("nvidia-open", "cuda-drivers")
            for suffix in ("", "-570", "-580")
        )
        assert "595.71.05-1" in read(rig, "apt-cache policy nvidia-open | grep Candidate")

    def test_repository_can_lack_the_branches_up_to_580(
        self, rig: Rig, fault: Callable[..., None]
    ) -> None:
        offer(rig, fault, "repo-next")
        assert "nvidia-open-580" not in read(rig, "apt-cache pkgnames nvidia")
        assert "nvidia-driver-pinning-595" in read(rig, "apt-cache pkgnames nvidia")

    @pytest.mark.parametrize(
        ("package", "wanted"),
        [
            ("nvidia-driver-pinning-580", "nvidia-open nvidia-settings"),
            ("nvidia-driver-pinning-580.95.05", "nvidia-open-580"),
            ("nvidia-driver-pinning-590", "nvidia-open"),
        ],
    )
    def test_pinning_package_keeps_a_host_in_its_branch(
        self, rig: Rig, fault: Callable[..., None], package: str, wanted: str
    ) -> None:
        offer(rig, fault, "repo-new")
        rig.run(f"{INSTALL} {package}")
        rows = read(rig, f"apt-get -qqs install {wanted} | grep ^Inst").splitlines()
        versions = {row.split("(")[1].split()[0] for row in rows if " nvidia-driver " in row}
        rig.run(f"apt-get -qy purge {package}")
        branch = package.rpartition("-")[2]
        assert len(versions) == 1
        assert versions.pop().startswith(branch)

    def test_without_a_pin_of_the_whole_family_a_branch_cannot_be_installed(
        self, rig: Rig, fault: Callable[..., None]
    ) -> None:
        offer(rig, fault, "repo-new")
        rig.run(
            "printf 'Package: nvidia-* libnvidia-* cuda-drivers* libcuda1\\n"
            "Pin: version 580.*\\nPin-Priority: 1001\\n' >/etc/apt/preferences.d/part"
        )
        done = rig.run("apt-get -qs install nvidia-open-580 2>&1", check=False)
        rig.run("rm /etc/apt/preferences.d/part")
        assert "unmet dependencies" in done.stdout
        assert "(= 580.126.09-1) but 595.71.05-1 is to be installed" in done.stdout

    def test_driver_needs_the_component_contrib(self, rig: Rig) -> None:
        rig.run("sed -i.all /contrib/d /etc/apt/sources.list.d/kernel.list; apt-get update 2>&1")
        done = rig.run("apt-get -qs install nvidia-open-580 2>&1", check=False)
        rig.run("mv /etc/apt/sources.list.d/kernel.list.all /etc/apt/sources.list.d/kernel.list")
        assert "glx-alternative-nvidia" in done.stdout

    def test_driver_needs_a_newer_dkms_than_the_distributions(self, rig: Rig) -> None:
        rows = read(rig, "apt-get -qqs install nvidia-open-580 | grep '^Inst dkms'")
        assert "1:3.3.0-1 NVIDIA" in rows


class TestDriver:
    """From no driver to another branch, in this order."""

    def test_without_headers_the_package_is_configured_and_no_module_is_built(
        self, rig: Rig
    ) -> None:
        done = rig.run(f"{INSTALL} nvidia-open-580 2>&1")
        assert "kernel headers for this kernel do not seem to be installed" in done.stdout
        assert read(rig, "dkms status") == "nvidia/580.95.05: added"
        assert rig.run("modinfo nvidia", check=False).returncode == 1
        assert read(rig, "dpkg --audit") == ""

    def test_headers_bring_the_module(self, rig: Rig) -> None:
        rig.run(f"{INSTALL} linux-headers-$(uname -r) 2>&1")
        release = read(rig, "uname -r")
        assert read(rig, "dkms status") == f"nvidia/580.95.05, {release}, x86_64: installed"
        assert read(rig, f"modinfo -k {release} -F version nvidia") == "580.95.05"
        assert read(rig, "modinfo -n nvidia-uvm").endswith("/updates/dkms/nvidia-uvm.ko")

    def test_pin_of_the_whole_family_brings_a_driver_to_an_older_branch(self, rig: Rig) -> None:
        rig.run(f"{INSTALL} nvidia-driver-pinning-570 2>&1")
        rig.run(f"{INSTALL} --allow-downgrades nvidia-open-570 2>&1")
        names = (
            "nvidia-driver nvidia-kernel-open-dkms libcuda1 libegl-nvidia0 libnvcuvid1 libnvoptix1"
        )
        versions = read(rig, f"dpkg-query -W -f '${{Version}}\\n' {names} firmware-nvidia-gsp")
        assert {*versions.split()} == {"570.195.03-1"}
        assert "nvidia/570.195.03" in read(rig, "dkms status")
        rig.run("apt-get -qy purge nvidia-driver-pinning-570 2>&1")

    def test_library_is_behind_alternatives(self, rig: Rig, fault: Callable[..., None]) -> None:
        offer(rig, fault, "repo-new")
        rig.run(f"{INSTALL} nvidia-driver-pinning-590 2>&1; {INSTALL} nvidia-open 2>&1")
        links = read(
            rig, f"readlink {LIBRARY}; readlink $(readlink {LIBRARY}); readlink -f {LIBRARY}"
        )
        folder = "/usr/lib/x86_64-linux-gnu/nvidia/current"
        assert links.splitlines() == [
            "/etc/alternatives/nvidia--libnvidia-ml.so.1-x86_64-linux-gnu",
            f"{folder}/libnvidia-ml.so.1",
            f"{folder}/libnvidia-ml.so.590.48.01",
        ]
        assert read(rig, "readlink -f /usr/bin/nvidia-smi") == "/usr/lib/nvidia/current/nvidia-smi"
        assert rig.run(f"dpkg -S {LIBRARY}", check=False).returncode == 1
        assert read(rig, f"dpkg -S $(readlink -f {LIBRARY})").startswith("libnvidia-ml1:")

    def test_module_that_does_not_build_leaves_the_package_half_configured(
        self, rig: Rig, fault: Callable[..., None]
    ) -> None:
        offer(rig, fault, "repo-new")
        fault("dkms-fails", read(rig, "uname -r"))
        rig.run("apt-get -qy purge nvidia-driver-pinning-590")
        done = rig.run(f"{INSTALL} nvidia-open=595.71.05-1 2>&1", check=False)
        assert "Bad return status for module build on kernel" in done.stdout
        assert done.returncode == 100
        log = read(rig, "cat /var/lib/dkms/nvidia/595.71.05/build/make.log")
        assert "error: implicit declaration of function" in log
        state = "dpkg-query -W -f '${db:Status-Abbrev}' nvidia-kernel-open-dkms"
        assert read(rig, state) == "iF"
        faults.switch(rig, "dkms-fails", on=False)
        rig.run("dpkg --configure -a 2>&1")
        assert read(rig, state) == "ii"
        assert read(rig, f"readlink -f {LIBRARY}").endswith(".so.595.71.05")

    def test_newer_kernel_comes_with_its_metapackage_and_boots(self, rig: Rig) -> None:
        before = read(rig, "uname -r")
        newer = next_release(before)
        rig.run(f"{INSTALL} linux-image-amd64 2>&1 || {INSTALL} linux-image-generic 2>&1")
        assert rig.run(f"modinfo -k {newer} nvidia", check=False).returncode == 0
        rig.run("printf 'blacklist nouveau\\n' >/etc/modprobe.d/no-nouveau.conf")
        rig.run("update-initramfs -u -k all")
        reboot(rig)
        assert read(rig, "uname -r; cat /proc/sys/kernel/osrelease") == f"{newer}\n{newer}"
        assert f"vmlinuz-{newer}" in read(rig, "cat /proc/cmdline")
        assert newer in read(rig, "uname -a")
        query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
        assert read(rig, query) == "595.71.05"
        # The kernel before is still in the menu: once, by grub-reboot.
        rig.run(f"grub-reboot 'gnulinux-advanced-lab>gnulinux-{before}-advanced-lab'")
        assert "next_entry" in read(rig, "grub-editenv list")
        reboot(rig)
        assert read(rig, "uname -r") == before
        assert "next_entry" not in read(rig, "grub-editenv list")
        reboot(rig)
        assert read(rig, "uname -r") == newer

    def test_distributions_own_driver_has_other_names(self, rig: Rig) -> None:
        rig.run(
            f"apt-get -qy purge $({FAMILY % '595'}) 2>&1; "
            "sed -i 's,/contrib ./,/non-free ./,' /etc/apt/sources.list.d/kernel.list; "
            "sed -n 1p /etc/apt/sources.list.d/kernel.list | "
            "sed 's, ./$,/contrib ./,' >/etc/apt/sources.list.d/contrib.list; "
            "rm /etc/apt/sources.list.d/vendor.list; apt-get update 2>&1"
        )
        rig.run(f"{INSTALL} nvidia-driver nvidia-smi 2>&1")
        release = read(rig, "uname -r")
        built = f"nvidia-current/535.261.03, {release}, x86_64: installed"
        assert built in read(rig, "dkms status")
        assert rig.run("modinfo nvidia", check=False).returncode == 1
        reboot(rig)
        query = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq"
        assert read(rig, query) == "535.261.03"
        assert "\nnvidia " in read(rig, "lsmod")
