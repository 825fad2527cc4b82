"""A machine with a disk: QEMU boots its own GRUB and kernel; it is reached by SSH alone.

It has the graphics cards of a rig behind root ports, by the ids of emulated displays; its power can
be cut at any moment, and what is on its disk then stays.
"""

from __future__ import annotations

import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build import host, tools
from lab.errors import LabError
from lab.qemu import disk, image
from lab.qemu.qmp import QmpConnection
from lab.rigs import process

BOOT_SECONDS = 300.0  # 40 to 60 are usual on a machine with nothing else to do
POWER_SECONDS = 30.0  # until QEMU's process is gone
MEMORY_MIB = 2048
#: An emulated display's vendor and device, and those of an RTX 3090 of MSI, little endian.
EMULATED = (struct.pack("<HH", 0x1234, 0x1111), struct.pack("<HH", 0x10DE, 0x2204))
SUBSYSTEM = struct.pack("<HH", 0x1462, 0x3881)
#: The class of QEMU's displays, "other display"; a VGA controller of revision a1 instead.
OTHER_DISPLAY, VGA = b"\x80\x03", b"\xa1\x00\x00\x03"
#: Three cards: one in the wide slot, two on risers. width: lanes; speed: GT/s.
PORTS = ((16, "16"), (1, "2_5"), (1, "2_5"))
OVMF_CODE, OVMF_VARIABLES = "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"


@dataclass(frozen=True)
class DiskMachine:
    """A machine by its folder (which holds its disk) and its address on the loopback network."""

    folder: Path
    address: str
    firmware: str = "bios"
    port: int = 22

    def create(self, source: Path | None = None) -> None:
        """Give it a new disk, which begins as `source` is (by default: Debian, installed)."""
        self.discard()
        self.folder.mkdir(parents=True)
        disk.make_overlay(source or disk.ensure(self.firmware), self.disk)
        if self.firmware == "uefi":
            shutil.copy(_firmware(OVMF_VARIABLES), self.folder / OVMF_VARIABLES)

    @property
    def disk(self) -> Path:
        """Its disk: an overlay."""
        return self.folder / "disk.qcow2"

    @property
    def console(self) -> str:
        """What GRUB and the kernels have written on the serial console, since it was created."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def is_on(self) -> bool:
        """Return whether it is switched on."""
        return process.running(self._pid_file) is not None

    def switch_on(self, options: Sequence[str] = ()) -> None:
        """Start it. options: further ones of QEMU. Raises LabError."""
        if self.is_on():
            raise LabError(f"The machine at {self.address} is on already.")
        qmp = self.folder / "qmp"
        qmp.unlink(missing_ok=True)
        with (self.folder / "qemu.log").open("wb") as log:
            started = subprocess.Popen(
                [image.QEMU, *self._arguments(), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.write_pid(self._pid_file, started.pid)
        connection = QmpConnection(qmp, self._check_alive)
        try:
            disguise_displays(started.pid)  # it waits, before its firmware has looked
            connection.command("cont")
        finally:
            connection.close()

    def cut_power(self) -> None:
        """End it as a power cut does."""
        process.end(self._pid_file, POWER_SECONDS, signal.SIGKILL)

    def wait_for_ssh(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until its sshd answers. Raises LabError with the end of its console."""
        deadline = time.monotonic() + seconds
        while not self.answers():
            self._check_alive()
            if time.monotonic() > deadline:
                end = "\n".join(self.console.splitlines()[-12:])
                raise LabError(f"{self.address} does not answer on ssh. Its console:\n{end}")
            time.sleep(0.2)

    def answers(self) -> bool:
        """Return whether its sshd sends its banner."""
        try:
            with socket.create_connection((self.address, self.port), timeout=2) as connection:
                connection.settimeout(20)  # QEMU accepts before the machine does
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def discard(self) -> None:
        """Switch it off and delete it."""
        self.cut_power()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "pid"

    def _check_alive(self) -> None:
        if not self.is_on():
            log = (self.folder / "qemu.log").read_text(errors="replace")
            raise LabError(f"QEMU ended: {log.strip()[-500:]}")

    def _arguments(self) -> list[str]:
        devices = []
        for number, (width, speed) in enumerate(PORTS, start=1):
            port = f"id=slot{number},chassis={number},addr={number + 3:x}.0"
            devices += ["-device", f"pcie-root-port,{port},x-width={width},x-speed={speed}"]
            devices += ["-device", f"secondary-vga,bus=slot{number},vgamem_mb=16"]
        firmware = []
        if self.firmware == "uefi":
            for read_only, path in (
                ("on", _firmware(OVMF_CODE)),
                ("off", self.folder / OVMF_VARIABLES),
            ):
                firmware += ["-drive", f"if=pflash,format=raw,readonly={read_only},file={path}"]
        forward = f"hostfwd=tcp:{self.address}:{self.port}-:22"
        return [
            *("-S", "-nodefaults", "-no-user-config", "-machine", "q35,accel=tcg", "-cpu", "max"),
            *("-m", str(MEMORY_MIB), "-smp", "1", "-display", "none", "-vga", "none"),
            *firmware,
            *("-drive", f"file={self.disk},if=virtio,format=qcow2,cache=unsafe,discard=unmap"),
            *("-netdev", f"user,id=net,{forward}", "-device", "virtio-net-pci,netdev=net,addr=2.0"),
            *devices,
            *("-device", "virtio-rng-pci,addr=8.0"),
            *("-smbios", "type=2,manufacturer=ASRock,product=B450 Steel Legend"),
            *("-chardev", f"file,id=console,path={self.folder}/console,append=on"),
            *("-serial", "chardev:console", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
        ]


def disguise_displays(pid: int) -> int:
    """Give the displays of a QEMU that is paused the identity of RTX 3090s; return how many.

    Their configuration spaces are 256 bytes in QEMU's memory; the ids in them can't be chosen by an
    option. Offsets: PCI Local Bus Specification 3.0, 6.1.
    """
    changed = 0
    with (
        Path(f"/proc/{pid}/maps").open() as maps,
        Path(f"/proc/{pid}/mem").open("r+b", 0) as memory,
    ):
        for line in maps:
            fields = line.split()
            low, high = (int(word, 16) for word in fields[0].split("-"))
            # Anonymous, writable, and not the machine's own memory.
            if (
                not fields[1].startswith("rw")
                or fields[-1].startswith("/")
                or high - low >= 1 << 28
            ):
                continue
            try:
                memory.seek(low)
                content = memory.read(high - low)
            except (OSError, ValueError, OverflowError):
                continue
            start = content.find(EMULATED[0])
            while start >= 0:
                if content[start + 10 : start + 12] == OTHER_DISPLAY:
                    for offset, value in ((0, EMULATED[1]), (8, VGA), (0x2C, SUBSYSTEM)):
                        memory.seek(low + start + offset)
                        memory.write(value)
                    changed += 1
                start = content.find(EMULATED[0], start + 1)
    return changed


def _firmware(name: str) -> Path:
    tools.fetch("ovmf")
    path = tools.folder("ovmf") / "usr/share/OVMF" / name
    if not path.exists():
        raise LabError(f"Debian's package ovmf has no {name}.", host.read_codename())
    return path
