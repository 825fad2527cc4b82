"""Disks of QEMU machines: Debian as a person installs it, with kernel, GRUB, sshd and apt.

A disk is built once for each firmware and cached; a machine works on an overlay of it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.build import base, host
from lab.build import image as lab_image
from lab.errors import LabError
from lab.qemu import image
from lab.report import run, step

FIRMWARES = ("bios", "uefi")
SIZE_GIB = 60  # sparse
#: The login that the system comes with, as on a system whose installer asked for a user.
USER, PASSWORD, HOST_NAME = "user", "1", "attic"
INSTALL = Path(__file__).with_name("install.sh")
KERNEL = "linux-image-amd64"
BOOT_LOADERS = {"bios": "grub-pc", "uefi": "grub-efi-amd64"}
#: What an installation has beside the packages of rigs: boot, network, and what acts by itself.
FURTHER = (
    *(KERNEL, "initramfs-tools", "zstd", "ifupdown", "isc-dhcp-client", "nano", "rsyslog"),
    *("unattended-upgrades", "needrestart", "apt-listchanges", "systemd-timesyncd"),
    *("libpam-systemd", "locales", "usbutils", "lsb-release", "ucf", "man-db"),
)
#: The command line of the kernel: as mining systems have it, and with the console of a machine.
COMMAND_LINE = "console=tty0 console=ttyS0,115200 pci=noaer"
PROGRAMS = {
    "sfdisk": "fdisk",
    "qemu-img": "qemu-utils",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
}


def unusable() -> LabError | None:
    """Return why machines with disks cannot run here, or None if they can."""
    if problem := image.unusable():
        return problem
    missing = [package for name, package in PROGRAMS.items() if not host.find_program(name)]
    if missing:
        return LabError(
            f"Machines with disks need packages that are missing here: {' '.join(missing)}.",
            f"Run: apt-get install --no-install-recommends {' '.join(missing)}",
        )
    return None


def ensure(firmware: str = "bios", codename: str = "") -> Path:
    """Return the disk for a firmware (raw, sparse), built first if it is not in the cache.

    codename: of the Debian on it; "" for the machine's. Raises LabError.
    """
    if problem := unusable():
        raise problem
    release = base.find(codename)
    recipe = lab_image.fingerprint(
        *(release.codename, release.lines(), firmware, host.read_apt_options()),
        *(*release.packages, *FURTHER, COMMAND_LINE, str(SIZE_GIB)),
        *(file.read_text() for file in (INSTALL, Path(__file__))),
    )
    disk = lab_image.cache() / f"disk-{recipe}" / "disk.raw"
    lab_image.cache().mkdir(parents=True, exist_ok=True)
    with (lab_image.cache() / "disk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not disk.exists():
            with step(f"Building a disk with Debian, for {firmware}", usual="two minutes"):
                _build(disk, firmware, release)
    os.utime(disk.parent)
    return disk


def make_overlay(disk: Path, overlay: Path) -> None:
    """Make a copy of a disk that holds only what changes."""
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", disk, overlay], check=True
    )


def _build(disk: Path, firmware: str, release: base.BaseSystem) -> None:
    log = lab_image.cache() / "build-disk.log"
    log.write_text("")
    with tempfile.TemporaryDirectory(dir=disk.parent.parent, prefix="draft-") as name:
        draft = Path(name)
        root = draft / "root"
        wanted = (*release.packages, *FURTHER, BOOT_LOADERS[firmware])
        base.bootstrap(release, root, wanted, "important", log)
        _configure(root, log)
        run(
            [
                *("unshare", "--mount", "--propagation", "private", "bash", INSTALL),
                *(root, draft / disk.name, str(SIZE_GIB), firmware),
            ],
            log,
            "Installing the system on a disk",
        )
        shutil.rmtree(root)
        disk.parent.mkdir(exist_ok=True)
        (draft / disk.name).replace(disk)


def _configure(root: Path, log: Path) -> None:
    """Write what an installer asks for, and how this machine reaches its package sources."""
    etc = root / "etc"
    (etc / "hostname").write_text(f"{HOST_NAME}\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {HOST_NAME}\n")
    (etc / "network/interfaces").write_text(
        "auto lo\niface lo inet loopback\nallow-hotplug enp0s2\niface enp0s2 inet dhcp\n"
    )
    (etc / "apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (etc / "apt/apt.conf.d/90machine").write_text(host.read_rig_apt_options())
    grub = etc / "default/grub"
    lines = [
        line for line in grub.read_text().splitlines() if not line.startswith("GRUB_CMDLINE_LINUX=")
    ]
    grub.write_text(
        "\n".join(
            [*lines, f'GRUB_CMDLINE_LINUX="{COMMAND_LINE}"', "GRUB_TERMINAL=serial", ""]
        ).replace("GRUB_TIMEOUT=5", "GRUB_TIMEOUT=1")
    )
    # Under emulation an initramfs with all modules takes seven minutes, one for this machine one.
    (etc / "initramfs-tools/conf.d/emulated").write_text("MODULES=dep\nCOMPRESS=gzip\n")
    script = (
        f"useradd -m -s /bin/bash -G sudo {USER}\n"
        f"printf '%s\\n' {USER}:{PASSWORD} root:{PASSWORD} | chpasswd\n"
        "systemctl --quiet enable ssh serial-getty@ttyS0\n"
        "echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/installer.conf\n"
    )
    run(["chroot", root, "/bin/sh", "-eus"], log, "Configuring the system", stdin=script)
