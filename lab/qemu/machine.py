"""Start QEMU's machine, run commands in it, let its devices report PCIe errors."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.qemu import image
from lab.qemu.qmp import QmpConnection, connect

BOOT_SECONDS = 180.0  # a third of it is usual where two cores are shared
COMMAND_SECONDS = 60.0
KERNEL_OPTIONS = "console=ttyS0 panic=-1 quiet"


class QemuMachine:
    """A QEMU process, as a context manager; `devices` are the values of its -device options.

    For example: QemuMachine(["pcie-root-port,id=wide,chassis=1,x-width=16,x-speed=8"]).
    """

    def __init__(self, devices: Sequence[str], memory_mib: int = 512) -> None:
        self._devices = devices
        self._memory = memory_mib
        self._folder = tempfile.TemporaryDirectory(prefix="deeprig-qemu-")
        self._process: subprocess.Popen[bytes] | None = None
        self._open: list[QmpConnection | socket.socket] = []

    def __enter__(self) -> QemuMachine:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def console(self) -> str:
        """Return what the kernel wrote on its console."""
        path = Path(self._folder.name) / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def run(self, *argv: str, content: str = "") -> str:
        """Return what a command in the machine prints. Raises LabError when it fails."""
        line = json.dumps({"argv": argv, "input": content})
        self._channel.write(line.encode() + b"\n")
        self._channel.flush()
        answer = self._answer(COMMAND_SECONDS)
        if answer["status"] != 0:
            raise LabError(f"`{' '.join(argv)}` failed in the machine: {answer['error']}")
        return str(answer["out"])

    def shell(self, script: str) -> str:
        """Return what a shell script in the machine prints."""
        return self.run("/bin/busybox", "sh", "-ec", script)

    def read(self, path: str) -> str:
        """Return a file's content."""
        return self.run("/bin/busybox", "cat", path)

    def python(self, script: str) -> Any:
        """Return the JSON that a Python script prints; it can import the code that runs on rigs."""
        return json.loads(self.run("/usr/bin/python3", "-", content=script))

    def disguise(self, address: str, identity: Mapping[str, str]) -> None:
        """Replace a device's ids (vendor, device, class) by others; its links stay the kernel's.

        QEMU emulates no such card; what it calls itself is all that this changes.
        """
        lines = []
        for name, value in identity.items():
            file, target = f"/tmp/{address}.{name}", f"/sys/bus/pci/devices/{address}/{name}"
            lines.append(f"echo {shlex.quote(value)} > {file}; mount --bind {file} {target}")
        self.shell("\n".join(lines))

    def reboot(self) -> None:
        """Reset the machine, and wait until it answers again."""
        self._qmp.command("system_reset")
        self._answer(BOOT_SECONDS)

    def monitor(self, command: str) -> str:
        """Return the answer of QEMU's monitor to a command. Raises LabError for an error."""
        return self._qmp.monitor(command)

    def inject(self, device: str, error: str) -> None:
        """Let a device (by its id) report one fatal error, by QEMU's name for it: MALF_TLP …

        QEMU sets the error's bits and sends the message up the tree as hardware does. For lesser
        errors it only sets the bits: `inject_status`.
        """
        self.monitor(f"pcie_aer_inject_error {device} {error}")

    def inject_status(self, address: str, kind: str, bit: int) -> None:
        """Let a device report one error: `kind` is correctable or uncorrectable, `bit` its status.

        It uses the kernel's error injector, which calls the kernel's own interrupt handler. Before
        that it enables error reports of the device, as a driver does.
        """
        self.run("/usr/bin/python3", "/code/inject.py", address, kind, str(bit))

    def _start(self) -> None:
        built = image.ensure()
        folder = Path(self._folder.name)
        initrd = folder / "initrd"
        initrd.write_bytes(built.files.read_bytes() + image.pack_code(built))
        options = [option for device in self._devices for option in ("-device", device)]
        with (folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    image.QEMU,
                    "-nodefaults",
                    "-no-user-config",
                    "-machine",
                    "q35,accel=tcg",
                    "-cpu",
                    "max",
                    "-m",
                    str(self._memory),
                    "-display",
                    "none",
                    "-vga",
                    "none",
                    "-kernel",
                    str(built.kernel),
                    "-initrd",
                    str(initrd),
                    "-append",
                    KERNEL_OPTIONS,
                    "-serial",
                    f"file:{folder}/console",
                    "-serial",
                    f"unix:{folder}/channel,server=on,wait=off",
                    "-qmp",
                    f"unix:{folder}/qmp,server=on,wait=off",
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._qmp = QmpConnection(folder / "qmp", self._check_alive)
        self._open.append(self._qmp)
        self._channel_socket = connect(folder / "channel", self._check_alive)
        self._open.append(self._channel_socket)
        self._channel = self._channel_socket.makefile("rwb")
        self._answer(BOOT_SECONDS)

    def _answer(self, seconds: float) -> dict[str, Any]:
        self._channel_socket.settimeout(seconds)
        try:
            line = self._channel.readline()
        except TimeoutError:
            line = b""
        if not line:
            self._check_alive()
            end = "\n".join(self.console.splitlines()[-8:])
            raise LabError(f"The machine does not answer. Its console:\n{end}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            log = (Path(self._folder.name) / "qemu.log").read_text(errors="replace")
            raise LabError(f"QEMU ended: {log.strip()[-500:]}")

    def _stop(self) -> None:
        for connection in self._open:
            connection.close()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()
