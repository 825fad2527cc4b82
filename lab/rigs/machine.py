"""A rig: its disk, its hardware, its address on the loopback network."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from lab.build import flavour, host
from lab.build.flavour import Flavour
from lab.build.image import RigImage, ensure, mount_overlay, unmount
from lab.errors import LabError
from lab.records import BootRecord, RigSettings, RigState, read_record, write_record
from lab.report import step
from lab.rigs import process
from lab.simulate import faults, sysfs
from lab.simulate.grub import disables_aer
from lab.simulate.hardware import Hardware, LabGpu
from lab.simulate.procfs import consume_next_entry, read_command_line, write_proc

NAME = re.compile(r"(rig|test)(\d*)")
FIRST = {"rig": 0, "test": 100}  # the tests' rigs run beside the operator's
MAX_NETWORK = 254
VENDOR_PORT = 8077
OTHER_PORT = 2222
BOOT_SECONDS = 60


def state_folder() -> Path:
    """Return the folder of the rigs' disks and hardware."""
    return Path(os.environ.get("DEEPRIG_LAB_STATE", "/var/lib/deeprig-lab"))


def network() -> int:
    """Return the number of this lab's network: 0 for the operator, 1 and up for tests.

    Rigs of two networks may have the same name: their addresses differ, and so must their state
    folders.
    """
    text = os.environ.get("DEEPRIG_LAB_NETWORK", "0")
    if not text.isdigit() or int(text) > MAX_NETWORK:
        raise LabError(
            f"DEEPRIG_LAB_NETWORK is {text!r}, which is not a network's number.",
            f"Set it to a number from 0 to {MAX_NETWORK}, or unset it.",
        )
    return int(text)


def list_rigs() -> list[Rig]:
    """List the rigs that exist, running or not."""
    folder = state_folder() / "rigs"
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else iter(())
    return sorted((Rig(name) for name in names if NAME.fullmatch(name)), key=lambda rig: rig.number)


def clear() -> None:
    """Delete the state folder if no rig is left in it."""
    if not list_rigs():
        shutil.rmtree(state_folder(), ignore_errors=True)


def find(name: str) -> Rig:
    """Return the rig of that name. Raises LabError, which lists the rigs."""
    rigs = {rig.name: rig for rig in list_rigs()}
    if name not in rigs:
        there = f"There is: {', '.join(rigs)}." if rigs else "None exists: `fab lab.up` makes one."
        raise LabError(f"No rig is called {name}.", there)
    return rigs[name]


@dataclass(frozen=True)
class Rig:
    """A lab rig by its name: rig, rig2, rig3, … (and test, test2, … for the tests)."""

    name: str

    @property
    def number(self) -> int:
        """Its number: the last part of its address."""
        match = NAME.fullmatch(self.name)
        if match is None:
            raise LabError(f"{self.name} is not a name of a rig.", "Use rig, rig2, rig3, …")
        return FIRST[match[1]] + int(match[2] or 1)

    @property
    def address(self) -> str:
        """The loopback address on which its sshd listens."""
        return f"127.{network()}.77.{self.number}"

    @property
    def machine_name(self) -> str:
        """The container's name, which no other container of this machine has."""
        return f"deeprig-{self.name}-{network()}"

    @property
    def port(self) -> int:
        """The port of its sshd: 22, unless the machine's own sshd has that on every address."""
        return int(self.settings().get("port", 22))

    @property
    def vendor_url(self) -> str:
        """The URL of the vendor's packages."""
        return f"http://127.{network()}.78.{self.number}:{VENDOR_PORT}"

    @property
    def folder(self) -> Path:
        """The folder of this rig's state."""
        return state_folder() / "rigs" / self.name

    @property
    def root(self) -> Path:
        """The rig's root file system, as seen from outside."""
        return self.folder / "root"

    @property
    def hardware_folder(self) -> Path:
        """The simulated hardware, /run/hardware in the rig."""
        return self.folder / "hardware"

    @property
    def pid_file(self) -> Path:
        """The file with the pid of the process that keeps the rig running."""
        return self.folder / "supervisor.pid"

    @property
    def container_pid_file(self) -> Path:
        """The file with the pid of the rig's container."""
        return self.folder / "nspawn.pid"

    @property
    def log(self) -> Path:
        """The log of the rig's console."""
        return self.folder / "console.log"

    @cached_property
    def hardware(self) -> Hardware:
        """The rig's hardware."""
        return Hardware.load(self.settings().get("hardware", "seed"))

    @property
    def flavour(self) -> Flavour:
        """The mining system that it had when it was bought, with its login."""
        return flavour.find(self.settings().get("flavour", flavour.DEFAULT))

    # Settings and state.

    def settings(self) -> RigSettings:
        """Return what outlasts a reboot."""
        return cast(RigSettings, read_record(self.folder / "settings.json"))

    def set(self, **values: object) -> None:
        """Change settings."""
        write_record(self.folder / "settings.json", {**self.settings(), **values})

    def state(self) -> RigState:
        """Return what the rig does now, as the supervisor last wrote it."""
        state = cast(RigState, read_record(self.folder / "state.json"))
        if self.supervisor() is None and state.get("state") not in {"off", "lost"}:
            state["state"] = "off"
        return state

    def update_state(self, **values: object) -> None:
        """Write what the rig does now (called by the supervisor)."""
        file = self.folder / "state.json"
        write_record(file, {**read_record(file), **values})

    def profile(self) -> str:
        """Return the BIOS profile of the next boot."""
        return str(self.settings().get("profile", self.hardware.default_profile))

    def gpus(self) -> list[LabGpu]:
        """List the GPUs that the last boot found, in the driver's order."""
        booted = cast(BootRecord, read_record(self.folder / "booted.json"))
        seats = self.hardware.gpus(booted.get("profile", self.profile()))
        return [seat for seat in seats if seat.index not in booted.get("missing", [])]

    def supervisor(self) -> int | None:
        """Return the pid of the supervisor if it runs."""
        return process.running(self.pid_file)

    def leader(self) -> int | None:
        """Return the pid of the rig's init on this machine, or None."""
        pid = process.running(self.container_pid_file)
        if pid is None:
            return None
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            if re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE):
                return int(child)
        return None

    # Start and stop.

    def up(self, *, fresh: bool = False, image: RigImage | None = None) -> None:
        """Create the rig if it is missing, boot it if it is off, and wait until ssh answers."""
        if fresh:
            self.discard()
        if self.supervisor() is None:
            self.down()
            if not (self.folder / "settings.json").exists():
                self.create(image or ensure())
            self._start_supervisor()
        with step(f"Waiting for {self.name} at {self.address}"):
            self.wait()

    def create(self, image: RigImage) -> None:
        """Create the rig's disk: an empty layer over the image, with a host name and host keys."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)
        root = mount_overlay(self.folder, image.layers)
        (root / "etc/hostname").write_text(f"{self.name}\n")
        (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        port = 22 if is_free(self.address, 22) else OTHER_PORT
        listen = f"ListenAddress {self.address}\nPort {port}\n"
        (root / "etc/ssh/sshd_config.d/address.conf").write_text(listen)
        for kind in ("ed25519", "ecdsa"):
            key = root / f"etc/ssh/ssh_host_{kind}_key"
            subprocess.run(
                ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{self.name}", "-f", key],
                check=True,
            )
        unmount(root)
        # The image has this machine's package settings, which may name folders of this machine.
        folders = host.list_local_folders(host.read_pip_options(), host.list_sources())
        self.set(
            layers=[str(layer) for layer in image.layers],
            folders=[str(folder) for folder in folders],
            repository=str(image.repository),
            flavour=image.flavour,
            hardware="seed",
            port=port,
        )

    def down(self) -> None:
        """Shut the rig down; kill it if it does not stop. Its disk stays."""
        # The container has its own pid file, in case its supervisor was killed.
        for file in (self.pid_file, self.container_pid_file):
            if not process.end(file, seconds=40):
                raise LabError(f"{self.name} does not stop.", f"Its supervisor's log: {self.log}")
        unmount(self.root)

    def discard(self) -> None:
        """Stop the rig and delete it."""
        self.down()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.__dict__.pop("hardware", None)

    def wait(self, seconds: float = BOOT_SECONDS, boots: int = 0) -> None:
        """Wait until the rig has booted that often, and its sshd answers."""
        deadline = time.monotonic() + seconds
        while self.state().get("boots", 0) < boots or not self.answers():
            if self.supervisor() is None or time.monotonic() > deadline:
                console = self.log.read_text(errors="replace") if self.log.exists() else ""
                text = "\n".join(f"    {line}" for line in summarize_console(console))
                raise LabError(f"{self.name} does not answer on ssh:\n{text}\n", f"Log: {self.log}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether the rig's sshd sends its banner."""
        try:
            with socket.create_connection((self.address, self.port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root in the rig, without ssh, as at its console."""
        done = subprocess.run(
            [*self.enter(), "/bin/sh", "-c", command], capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            raise LabError(f"`{command}` on {self.name}: {done.stderr.strip() or done.stdout}")
        return done

    def enter(self) -> list[str]:
        """Return the command that enters the rig's namespaces as root."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is off.", "`fab lab.up` boots it.")
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return [
            # As the container: root of a rig must not set the machine's clock or load its modules.
            "setpriv",
            "--bounding-set=-sys_time,-sys_module",
            "nsenter",
            "--target",
            str(leader),
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
            "env",
            "-C",
            "/",
            "-i",
            path,
            "HOME=/root",
            "TERM=xterm",
        ]

    def host_keys(self) -> list[str]:
        """Return the rig's lines of known_hosts."""
        keys = sorted((self.folder / "upper/etc/ssh").glob("ssh_host_*_key.pub"))
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return [f"{name} {' '.join(key.read_text().split()[:2])}" for key in keys]

    # Boot.

    def prepare(self) -> list[str]:
        """Write the hardware for the next boot; return the command that boots the rig."""
        root = mount_overlay(self.folder, tuple(map(Path, self.settings()["layers"])))
        command_line = read_command_line(root)
        words = command_line.split()
        hardware = self.hardware_folder
        for old in ("sys", "proc", "settings"):
            path = hardware / old
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        booted = BootRecord(profile=self.profile(), missing=faults.list_missing_gpus(self, root))
        write_record(self.folder / "booted.json", booted)
        write_proc(hardware / "proc", self.hardware, root)
        consume_next_entry(root)
        binds = sysfs.write_sys(
            hardware / "sys",
            self.hardware,
            self.profile(),
            self.gpus(),
            interface="eth0" if "net.ifnames=0" in words else "enp5s0",
            aer=not disables_aer(command_line),
        )
        faults.apply(self)
        folders = map(Path, self.settings().get("folders", ()))
        binds += [f"--bind-ro={_escape(path)}" for path in folders if path.exists()]
        mounted = ["--read-only"] if faults.is_on(self, "read-only") else []
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            *mounted,
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            f"--directory={root}",
            f"--machine={self.machine_name}",
            f"--hostname={self.name}",
            f"--bind={_escape(hardware)}:/run/hardware",
            *binds,
        ]

    def _start_supervisor(self) -> None:
        with self.log.open("a") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "lab.rigs.supervisor", self.name],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process.write_pid(self.pid_file, started.pid)


def summarize_console(text: str) -> list[str]:
    """Return a console's lines about units that failed, and its last six.

    >>> summarize_console("[  OK  ] Reached a\\n[FAILED] Failed to mount /x.\\n" + "y\\n" * 7)
    ['[FAILED] Failed to mount /x.', 'y', 'y', 'y', 'y', 'y', 'y']
    """
    lines = text.splitlines()
    failures = [line for line in lines[:-6] if "FAILED" in line or "DEPEND" in line]
    return failures + lines[-6:]


def is_free(address: str, port: int) -> bool:
    """Return whether a server could listen on the port of an address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as sshd does
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def _escape(path: Path) -> str:
    return str(path).replace(":", "\\:")
