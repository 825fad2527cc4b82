"""The faults of a rig: a table, and what switching one of its rows does.

Faults are kept in the rig's folder and outlast a reboot; those of a GPU are switched per GPU.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from lab.errors import LabError
from lab.records import RigSettings
from lab.simulate import control, sysfs
from lab.simulate.control import HW_THERMAL, POWER_CAP, SW_THERMAL, Rows
from lab.simulate.hardware import Hardware, LabGpu, LabLink
from lab.simulate.pcie import IDLE_GEN, set_link, write, write_aer

LOST = LabLink(0, 63)  # what the kernel reads from a device that does not answer


class FaultyRig(Protocol):
    """What a fault needs of a rig."""

    @property
    def name(self) -> str:
        """The rig's name."""

    @property
    def folder(self) -> Path:
        """Everything of this rig."""

    @property
    def hardware_folder(self) -> Path:
        """The simulated hardware."""

    @property
    def hardware(self) -> Hardware:
        """What the rig is made of."""

    @property
    def vendor_url(self) -> str:
        """From where the rig gets the vendor's packages."""

    def settings(self) -> RigSettings:
        """Return what outlasts a reboot."""

    def set(self, **values: object) -> None:
        """Change settings."""

    def profile(self) -> str:
        """Return the BIOS profile of the next boot."""

    def gpus(self) -> list[LabGpu]:
        """List the GPUs that the last boot found."""

    def supervisor(self) -> int | None:
        """Return the pid of the supervisor if it runs."""

    def leader(self) -> int | None:
        """Return the pid of the rig's init if the rig is on."""

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the rig."""


@dataclass(frozen=True)
class Fault:
    """A row of the table. The argument of a GPU's fault begins with the GPU's number."""

    name: str
    text: str
    argument: str = ""
    default: str = ""
    gpu: bool = False
    rows: Rows = field(default_factory=dict)  # of the control file; {} is the argument
    inside: tuple[str, str] = ("", "")  # shell commands in the running rig: on, off


def _gpu(name: str, text: str, argument: str = "", default: str = "", **rows: str | int) -> Fault:
    whole = f"GPU {argument}".strip()
    return Fault(name, text, whole, default, gpu=True, rows=rows)


_FAULTS = (
    _gpu("lost", "the GPU has fallen off the bus (and the driver logs Xid 79)", lost=1),
    _gpu("hang", "every NVML call on the GPU hangs", hang=1),
    _gpu("xid", "an Xid event; switch it on again for another event", "CODE", "31"),
    _gpu("link", "the link drops while running, to GENxWIDTH", "GENxWIDTH", "1x1"),
    _gpu(
        "aer",
        "PCIe errors, counted at the GPU and at the port above it",
        "COUNT [correctable|nonfatal|fatal]",
        "1000",
        correctable="{}",
    ),
    _gpu("replays", "the link replays packets", "COUNT", "5000", replays="{}", naks_received="{}"),
    _gpu(
        "hot",
        "the GPU throttles because it is too hot",
        celsius=93,
        busy=99,
        pstate=2,
        clock_graphics=1095,
        clock_sm=1095,
        power=262_000,
        fan=100,
        reasons=SW_THERMAL | HW_THERMAL,
    ),
    _gpu(
        "power-cap",
        "the GPU throttles at its power limit",
        busy=99,
        pstate=2,
        clock_graphics=1290,
        clock_sm=1290,
        power=350_000,
        reasons=POWER_CAP,
    ),
    _gpu("memory-full", "the GPU's memory is full", used_mib=24_200),
    _gpu("load", "no fault: the GPU works, so its link runs at full speed"),
    _gpu(
        "job",
        "no fault: a program uses the GPU",
        "PID",
        "4242",
        process="{} 8000",
        busy=99,
        pstate=2,
    ),
    _gpu("missing", "the next boot does not find the GPU"),
    Fault(
        "mismatch",
        "NVML does not match the loaded module, as after an upgrade without a reboot",
        rows={"mismatch": 1},
    ),
    Fault("usb-watchdog", "a watchdog is plugged into USB", "VENDOR:PRODUCT", "1a86:e2e3"),
    Fault("secure-boot", "Secure Boot is on"),
    Fault("repo-down", "the vendor's repository refuses connections"),
    Fault("repo-badsig", "the vendor's repository is signed by another key"),
    Fault("repo-old", "the vendor has not published the newest driver yet"),
    Fault("repo-new", "the vendor offers newer drivers and the branches 590 and 595, too"),
    Fault("repo-next", "the vendor offers only branches from 590 on"),
    Fault("dkms-fails", "the driver's module does not build", "all | RELEASE… | DRIVER…", "all"),
    Fault("dkms-strict", "the driver's package fails without kernel headers, as a .run file does"),
    Fault(
        "driver-breaks",
        "the rig is worse from the next boot on, while that driver is installed",
        "VERSION gpu|network|module|speed",
        "590 gpu",
    ),
    Fault(
        "bad-postinst", "a package's postinst fails", "PACKAGE[=VERSION]", "nvidia-kernel-open-dkms"
    ),
    Fault("no-return", "the rig does not come back from its next reboot"),
    Fault(
        "disk-full",
        "a folder of the rig is full",
        "FOLDER",
        "/opt",
        inside=("/usr/lib/lab-hardware/disk-full", "umount '{}'"),
    ),
    Fault(
        "clock",
        "the rig's clock is wrong, for programs that start from now on",
        "SECONDS | Nm | Nh | Nd, with a sign",
        "-400d",
        inside=("/usr/lib/lab-hardware/clock on", "/usr/lib/lab-hardware/clock off"),
    ),
    Fault("read-only", "the next boot mounts its root read-only, as after a disk error"),
    Fault(
        "no-python",
        "the ssh user finds no python3",
        inside=(
            "chmod 750 $(readlink -f /usr/bin/python3)",
            "chmod 755 $(readlink -f /usr/bin/python3)",
        ),
    ),
    Fault(
        "hive-cascade",
        "removing the package hive would remove another one with it",
        inside=("/usr/lib/lab-hardware/hive-cascade on", "/usr/lib/lab-hardware/hive-cascade off"),
    ),
)
TABLE = {fault.name: fault for fault in _FAULTS}
State = dict[str, dict[str, str]]  # of each fault that is on: for which GPU ("" is the rig), how


def switch(rig: FaultyRig, name: str, *, on: bool, argument: str = "") -> None:
    """Switch a fault on or off, now and for later boots."""
    if name not in TABLE:
        raise LabError(f"No fault is called {name}.", f"There is: {', '.join(TABLE)}.")
    fault, state = TABLE[name], read(rig)
    words = argument.replace(":", " ", 1).split() if fault.gpu else argument.split()
    target = _target(rig, words) if fault.gpu else ""
    value = " ".join(words) or fault.default
    was = state.get(name, {}).pop(target, value)
    if on:
        state.setdefault(name, {})[target] = value
    state = {key: values for key, values in state.items() if values}
    write(_file(rig), json.dumps(state))
    if on and name in {"xid", "lost"}:
        _report_xid(rig, target, "79" if name == "lost" else value)
    if rig.hardware_folder.exists():
        apply(rig)
        command = fault.inside[0 if on else 1].replace("{}", was)
        if command and rig.leader() is not None:
            rig.run(command)
    if name == "repo-down" and rig.supervisor() is not None:
        _wait_for_repository(rig, up=not on)


def read(rig: FaultyRig) -> State:
    """Return the faults that are on."""
    file = _file(rig)
    return dict(json.loads(file.read_text())) if file.exists() else {}


def is_on(rig: FaultyRig, name: str) -> bool:
    """Return whether a fault is on (for any GPU)."""
    return name in read(rig)


def describe(rig: FaultyRig) -> list[str]:
    """List the faults that are on, with their GPU and argument."""
    return [
        " ".join(filter(None, (name, target and f"gpu {target}", value)))
        for name, targets in read(rig).items()
        for target, value in targets.items()
    ]


def list_missing_gpus(rig: FaultyRig, root: Path) -> list[int]:
    """Return the numbers of the GPUs that the next boot of this disk does not find."""
    state = read(rig)
    missing = {int(target) for target in state.get("missing", {})}
    version, _, effect = state.get("driver-breaks", {}).get("", "").partition(" ")
    if effect == "gpu" and _is_driver_installed(root, version):
        missing.add(len(rig.hardware.gpus(rig.profile())) - 1)
    return sorted(missing)


def _is_driver_installed(root: Path, version: str) -> bool:
    """Return whether a disk has a driver whose version begins so."""
    status = (root / "var/lib/dpkg/status").read_text(errors="replace")
    pattern = rf"^Package: libcuda1\nStatus: \S+ ok installed\n(?:.+\n)*?Version: {version}"
    return re.search(pattern, status, re.MULTILINE) is not None


def apply(rig: FaultyRig) -> None:
    """Apply the rig's faults to its hardware: control file, links, firmware, flags."""
    state, sys = read(rig), rig.hardware_folder / "sys"
    flags = rig.hardware_folder / "faults"
    flags.mkdir(exist_ok=True)
    for name in TABLE:
        if not TABLE[name].gpu and name in state:
            (flags / name).write_text(f"{state[name]['']}\n")
        else:
            (flags / name).unlink(missing_ok=True)
    counts, codes = rig.settings().get("xids", {}), rig.settings().get("last_xids", {})
    gpus = rig.gpus()
    described = []
    for gpu in gpus:
        gpu_faults = {
            name: targets[str(gpu.index)]
            for name, targets in state.items()
            if str(gpu.index) in targets
        }
        rows = control.describe(gpu, rig.name, load="load" in gpu_faults)
        for name, value in gpu_faults.items():
            first = value.split()[0] if value else ""
            rows |= {key: str(row).replace("{}", first) for key, row in TABLE[name].rows.items()}
        # The code outlasts the fault: a process may read the event only after that.
        index = str(gpu.index)
        described.append(rows | {"xids": counts.get(index, 0), "xid": codes.get(index, "0")})
        _apply_link(rig, gpu, gpu_faults)
        if (
            "aer" in gpu_faults
            or (sys / "bus/pci/devices" / gpu.address / "aer_dev_fatal").exists()
        ):
            _apply_aer(rig, gpu, gpu_faults.get("aer", "0"))
    rig_rows: Rows = {}
    for name in state:
        if not TABLE[name].gpu:
            rig_rows |= TABLE[name].rows
    control.write_control(rig.hardware_folder / "control", described, rig_rows)
    sysfs.set_secure_boot(sys, on="secure-boot" in state)
    sysfs.set_usb(sys, "1-4", state.get("usb-watchdog", {}).get(""))


def _apply_link(rig: FaultyRig, gpu: LabGpu, gpu_faults: dict[str, str]) -> None:
    sys = rig.hardware_folder / "sys"
    if "lost" in gpu_faults:
        link = LOST
    elif "link" in gpu_faults:
        link = LabLink.parse(gpu_faults["link"])
    else:
        busy = gpu_faults.keys() & {"load", "hot", "power-cap"}
        link = LabLink(gpu.link.gen if busy else IDLE_GEN, gpu.link.width)
    set_link(sys, gpu.address, link, port="lost" not in gpu_faults)


def _apply_aer(rig: FaultyRig, gpu: LabGpu, value: str) -> None:
    count, _, kind = value.partition(" ")
    names = {"correctable": "BadTLP", "nonfatal": "CmpltTO", "fatal": "DLP"}
    kind = kind or "correctable"
    if kind not in names:
        raise LabError(f"PCIe has no {kind} errors.", f"It has: {', '.join(names)}.")
    device = (rig.hardware_folder / "sys/bus/pci/devices" / gpu.address).resolve()
    for end in (device, device.parent):
        if (end / "aer_dev_fatal").exists():  # not with pci=noaer
            for severity in names:
                counts = {names[severity]: int(count)} if severity == kind else {}
                write_aer(end, severity, counts)


def _report_xid(rig: FaultyRig, target: str, code: str) -> None:
    """Count the Xid, and write the driver's line about it to the rig's log."""
    counts, codes = rig.settings().get("xids", {}), rig.settings().get("last_xids", {})
    rig.set(xids=counts | {target: counts.get(target, 0) + 1}, last_xids=codes | {target: code})
    if rig.leader() is not None:
        gpu = rig.hardware.gpus(rig.profile())[int(target)]
        address = gpu.address.rpartition(".")[0]
        what = ", GPU has fallen off the bus." if code == "79" else ", Ch 00000008"
        message = f"NVRM: Xid (PCI:{address}): {code}, pid='<unknown>', name=<unknown>{what}"
        rig.run(f'logger -t kernel -p kern.err "{message}"', check=False)
        with (rig.hardware_folder / "kmsg").open("a") as log:
            log.write(f"3,{counts.get(target, 0) + 1},{time.monotonic_ns() // 1000},-;{message}\n")


def _wait_for_repository(rig: FaultyRig, *, up: bool) -> None:
    """Wait until the repository's server, which polls, has followed."""
    url = urlsplit(rig.vendor_url)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            socket.create_connection((url.hostname, url.port or 80), timeout=1).close()
            answers = True
        except OSError:
            answers = False
        if answers == up:
            return
        time.sleep(0.02)


def _target(rig: FaultyRig, words: list[str]) -> str:
    count = len(rig.hardware.gpus(rig.profile()))
    if not words or not words[0].isdigit() or int(words[0]) >= count:
        raise LabError("This fault needs the number of a GPU.", f"Name it first: 0 to {count - 1}.")
    return str(int(words.pop(0)))


def _file(rig: FaultyRig) -> Path:
    return rig.folder / "faults.json"
