"""States that others left on a rig: apt and dpkg report what the state's text describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab.build.vendor_table import next_release
from lab.errors import LabError
from lab.rigs.machine import Rig
from lab.simulate import states
from tests.lab.operator import reboot

# The tests of the product fail with the lab; these tell why.
pytestmark = pytest.mark.extended
NAME = "test57"
UPDATE = "apt-get -q -o Acquire::Retries=0 update 2>&1"
SIMULATE = "apt-get -qs install less 2>&1"
#: What the states change; it is put back after each test.
CHANGED = "etc/apt etc/default etc/modprobe.d boot usr/share/keyrings var/lib/dpkg var/lib/apt"
CONFLICT = (
    "echo 'deb [signed-by=/usr/share/kernel-packages/key.asc] $URL /' "
    ">/etc/apt/sources.list.d/ours.list; " + UPDATE
)


@pytest.fixture(scope="module")
def plain(make_rig: Callable[..., Rig]) -> Iterator[Rig]:
    """A plain Debian rig, which reads the lab's repositories only: an update takes no time."""
    rig = make_rig(NAME, flavour="clean")
    rig.run(f"sed -i 's/^deb http/#&/' /etc/apt/sources.list.d/*.list; {UPDATE}")
    yield rig
    rig.discard()


@pytest.fixture
def rig(plain: Rig) -> Iterator[Rig]:
    """The rig, put back as it was after the test."""
    plain.run(f"tar -C / -cf /var/tmp/before.tar {CHANGED}")
    yield plain
    plain.run(
        "mountpoint -q /boot && umount -l /boot; cd / && "
        f"rm -rf {CHANGED.replace(' boot ', ' boot/* ')} && tar -xf /var/tmp/before.tar && "
        "rm -f /var/cache/apt/*.bin; apt-get -q update 2>&1"
    )


CASES = [
    ("cuda-keyring", "", "dpkg -S /etc/apt/sources.list.d/*cuda*", "cuda-keyring: "),
    ("cuda-keyring", "", f"{UPDATE}; apt-cache policy", "600 http://"),
    ("cuda-keyring", "", CONFLICT, "Conflicting values set for option Signed-By"),
    ("cuda-keyring-deb822", "", f"{UPDATE}; apt-cache policy nvidia-open", "580.95.05-1 600"),
    ("cuda-keyring-deb822", "", CONFLICT, "Conflicting values set for option Signed-By"),
    ("cuda-entry", "no-slash", f"{UPDATE}; apt-cache policy nvidia-open", "580.95.05-1 500"),
    ("cuda-entry", "no-slash", CONFLICT, "Conflicting values set for option Signed-By"),
    ("cuda-entry", "https", UPDATE, "https://127."),
    ("cuda-trusted", "", f"{UPDATE}; apt-cache policy nvidia-open", "580.95.05-1 500"),
    ("cuda-trusted", "trusted.gpg", UPDATE, "legacy trusted.gpg keyring"),
    ("cuda-in-sources-list", "", f"{UPDATE}; apt-cache policy nvidia-open", "580.95.05-1 500"),
    ("dead-repository", "", UPDATE, "Connection refused"),
    ("dead-repository", "deb822", UPDATE, "Failed to fetch http://127.0.0.9:9/debian"),
    ("gone-repository", "", UPDATE, "does not have a Release file"),
    ("unknown-key", "", UPDATE, "NO_PUBKEY"),
    ("expired-key", "", UPDATE, "EXPKEYSIG"),
    # gpgv of Debian 12 accepts it.
    ("sha1-key", "", f"{UPDATE}; apt-cache policy nvidia-open", "580.95.05-1 500"),
    ("malformed-entry", "", SIMULATE, "Malformed entry 1 in list file"),
    ("sources-commented-out", "", "apt-get indextargets", ""),
    ("contrib-off", "", "apt-cache policy glx-alternative-nvidia", ""),
    ("non-free-on", "", "apt-cache policy nvidia-driver", "Candidate: 535.261.03-1"),
    ("dead-proxy", "", f"{UPDATE}; apt-config dump Acquire::http::Proxy", "127.0.0.9:3128"),
    ("pin-against", "linux-*", "apt-cache policy linux-headers-amd64", "Candidate: (none)"),
    ("pin-branch", "535", "apt-get check && cat /etc/apt/preferences.d/*", "version 535.*"),
    ("hold", "", "apt-mark showhold", "nvidia-container-toolkit"),
    ("half-configured", "", "dpkg -l nvidia-kernel-open-dkms", "iF  nvidia-kernel-open-dkms"),
    ("half-configured", "", "dpkg --configure -a && dpkg --audit && echo repaired", "repaired"),
    ("half-installed", "less", "dpkg -l less", "iHR less"),
    ("half-installed", "less", SIMULATE, "needs to be reinstalled"),
    ("unpacked", "", "dpkg -l nvidia-driver", "iU  nvidia-driver"),
    ("unpacked", "", "dpkg --audit", "unpacked but not yet configured"),
    ("triggers-pending", "", "dpkg -l libc-bin", "it  libc-bin"),
    ("failing-package", "", "dpkg --configure -a 2>&1 || true", "Bad return status"),
    ("unmet-dependency", "", SIMULATE, "apt --fix-broken install"),
    (
        "dpkg-interrupted",
        "",
        "apt-get -qy install less 2>&1",
        "you must manually run 'dpkg --configure -a'",
    ),
    ("lists-deleted", "", SIMULATE.replace("less", "linux-headers-amd64"), "Unable to locate"),
    ("lists-partial", "", "ls /var/lib/apt/lists | grep Packages || true", ""),
    ("lists-partial", "", "ls -s /var/lib/apt/lists/partial", "kernel-packages_._Packages"),
    ("lists-old", "", "find /var/lib/apt/lists -name '*Packages*' -mtime +39", "Packages"),
    ("boot-read-only", "", "update-initramfs -u 2>&1 || true", "Read-only file system"),
    ("boot-full", "", "update-initramfs -u 2>&1 || true", "No space left on device"),
    ("own-kernel", "", "cat /boot/grub/grub.cfg", "vmlinuz-9.9.12-sm6"),
    ("grub-drop-in", "", "cat /boot/grub/grub.cfg", "ttyS0 pci=nomsi,noaer"),
]


@pytest.mark.parametrize(("name", "argument", "command", "expected"), CASES)
def test_state_is_what_apt_and_dpkg_report(
    rig: Rig, name: str, argument: str, command: str, expected: str
) -> None:
    states.lay(rig, name, argument)
    url = f"{rig.vendor_url}/cuda/"
    shown = " ".join(rig.run(command.replace("$URL", url), check=False).stdout.split())
    assert " ".join(expected.split()) in shown
    assert expected or not shown


def test_every_state_is_tested() -> None:
    here = {name for name, *_ in CASES}
    elsewhere = {"lock-held", "next-kernel", "modprobe-line", "vfio"}
    drivers = {"distribution-driver", "vendor-driver", "public-libraries", "public-kernel"}
    assert {*states.load_table()} - here == elsewhere | drivers


def test_unknown_state_and_needless_argument_are_errors(rig: Rig) -> None:
    with pytest.raises(LabError, match="No state is called nothing"):
        states.lay(rig, "nothing")
    with pytest.raises(LabError, match="has no argument"):
        states.lay(rig, "malformed-entry", "twice")


def test_lock_is_held_by_a_process_with_the_name_of_unattended_upgrades(rig: Rig) -> None:
    states.lay(rig, "lock-held", "30")
    done = rig.run("apt-get -qy install less 2>&1", check=False)
    assert "/var/lib/dpkg/lock-frontend. It is held by process" in done.stdout
    assert "(unattended-upgr)" in done.stdout
    rig.run("systemctl stop lab-unattended-upgrade")
    states.lay(rig, "lock-held", "30 lists packagekitd")
    assert "(packagekitd)" in rig.run(UPDATE, check=False).stdout
    rig.run("systemctl stop lab-packagekitd")


def test_lock_is_released_after_its_time(rig: Rig) -> None:
    states.lay(rig, "lock-held", "1")
    rig.run("apt-get -qy -o DPkg::Lock::Timeout=20 install --reinstall -d less 2>&1", check=False)
    assert rig.run("dpkg --configure -a", check=False).returncode == 0


def test_newer_kernel_boots_next_and_has_no_headers(rig: Rig) -> None:
    before = rig.run("uname -r").stdout.strip()
    newer = next_release(before)
    states.lay(rig, "next-kernel")
    assert rig.run(f"test -e /lib/modules/{newer}/build", check=False).returncode == 1
    assert rig.run("grep -m 1 vmlinuz /boot/grub/grub.cfg").stdout.count(newer) == 1
    states.lay(rig, "next-kernel", "with-headers")
    rig.run(f"test -e /lib/modules/{newer}/build/include")


class TestDriver:
    """States of a rig with a driver, in this order; the rig is not put back between them."""

    def test_distributions_driver_works_after_a_reboot(self, plain: Rig) -> None:
        states.lay(plain, "distribution-driver")
        reboot(plain)
        assert plain.run("nvidia-smi -L | grep -c GPU").stdout.strip() == "3"
        plain.run("readlink /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1 | grep ^/etc/alternatives")

    def test_vfio_takes_the_cards(self, plain: Rig) -> None:
        states.lay(plain, "vfio")
        reboot(plain)
        drivers = plain.run("readlink /sys/bus/pci/devices/*/driver", check=False).stdout
        assert drivers.count("/vfio-pci\n") == 3
        assert "No such device" in plain.run("modprobe nvidia", check=False).stderr
        plain.run("rm /etc/modprobe.d/vfio.conf /etc/initramfs-tools/modules; update-initramfs -u")

    @pytest.mark.parametrize(
        ("line", "by_name", "message"),
        [
            ("blacklist nvidia", 0, ""),
            ("install nvidia /bin/false", 1, "Error running install command '/bin/false'"),
            ("blacklist nvidia-uvm", 0, ""),
        ],
    )
    def test_line_of_modprobe_keeps_the_driver_away(
        self, plain: Rig, line: str, by_name: int, message: str
    ) -> None:
        plain.run("systemctl disable --now nvidia-persistenced 2>&1")
        states.lay(plain, "modprobe-line", line)
        reboot(plain)
        loads_by_itself = "uvm" in line
        assert plain.run("test -d /sys/module/nvidia", check=False).returncode == (
            0 if loads_by_itself else 1
        )
        done = plain.run("modprobe nvidia", check=False)
        assert done.returncode == by_name
        assert message in done.stderr
        plain.run("rm /etc/modprobe.d/local.conf")

    def test_command_line_refuses_a_module(self, plain: Rig) -> None:
        states.lay(plain, "grub-drop-in", "modprobe.blacklist=nvidia,nouveau")
        reboot(plain)
        plain.run("grep -q modprobe.blacklist=nvidia,nouveau /proc/cmdline")
        assert plain.run("test -d /sys/module/nvidia", check=False).returncode == 1
        assert plain.run("modprobe nvidia", check=False).returncode == 0

    def test_comma_list_hides_the_error_counters_after_the_reboot(self, plain: Rig) -> None:
        counters = "ls /sys/bus/pci/devices/0000:08:00.0/aer_dev_fatal"
        assert plain.run(counters, check=False).returncode == 0
        states.lay(plain, "grub-drop-in", "pci=nomsi,noaer")
        reboot(plain)
        assert plain.run(counters, check=False).returncode != 0
        plain.run("rm /etc/default/grub.d/50-cloudimg-settings.cfg; update-grub")
        reboot(plain)
        assert plain.run(counters, check=False).returncode == 0

    def test_vendors_driver_replaces_it(self, plain: Rig) -> None:
        plain.run(
            "rm /etc/apt/sources.list.d/non-free.list; "
            "apt-get -qy purge '*nvidia*' 'libcuda*' 'libnv*' '*glx*' 2>&1"
        )
        states.lay(plain, "vendor-driver", "nvidia-driver-pinning-570 nvidia-open-570")
        assert "nvidia/570.195.03" in plain.run("dkms status").stdout
        assert "cuda-keyring" in plain.run("dpkg-query -W").stdout
