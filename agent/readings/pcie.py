"""The PCIe tree as sysfs shows it: GPUs, and every link between each and its root port.

Nothing here needs root. The narrowest link on a GPU's path limits it: the card's
`max_link_width` does not describe the slot, riser or switch above it. Widths are valid at idle;
speeds drop to 2.5 GT/s, so a current speed means something only under load.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from dataclasses import dataclass, field
from typing import Iterable, Mapping, Sequence, TypeVar

NVIDIA = "10de"
DISPLAY_CLASSES = ("0x0300", "0x0302")  # VGA controller; 3D controller, which has no outputs
ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
ALL_ONES_WIDTH = 63  # the six bits of a width, read from a device that no longer answers
IORESOURCE_MEM = 0x200  # include/linux/ioport.h: memory, and no I/O ports
TOTALS = "TOTAL_ERR_"  # the line of an aer_dev_* file that sums up the others
WIDTHS = (1, 2, 4, 8, 12, 16, 32)
Number = TypeVar("Number", int, float)

#: Errors of the process, not of the file: the process or the system has no descriptor left.
EXHAUSTED = (errno.EMFILE, errno.ENFILE)

ROOT_PORT = "root port"
UPSTREAM_PORT = "upstream port"
DOWNSTREAM_PORT = "downstream port"
BRIDGE = "bridge"
ENDPOINT = "endpoint"


@dataclass(frozen=True)
class PcieLink:
    """One end of a link. A value is None if the kernel does not know it."""

    current_width: int | None = None
    max_width: int | None = None
    current_speed_gts: float | None = None
    max_speed_gts: float | None = None


@dataclass(frozen=True)
class Aer:
    """A device's error counters since boot, by severity and name ("BadTLP": 3)."""

    correctable: Mapping[str, int] = field(default_factory=dict)
    nonfatal: Mapping[str, int] = field(default_factory=dict)
    fatal: Mapping[str, int] = field(default_factory=dict)

    @property
    def totals(self) -> dict[str, int]:
        """The sum of each severity. The kernel's total may be missing and is not used."""
        return {
            severity: sum(n for name, n in counters.items() if not name.startswith(TOTALS))
            for severity, counters in (
                ("correctable", self.correctable),
                ("nonfatal", self.nonfatal),
                ("fatal", self.fatal),
            )
        }


@dataclass(frozen=True)
class PciePort:
    """A device on the path from a root port to a GPU, including both.

    answers is False for a device that fell off the bus: its registers read as all ones.
    aer is None if it was not requested, or if the kernel counts no errors here.
    """

    address: str
    kind: str
    vendor_id: str
    device_id: str
    link: PcieLink
    answers: bool = True
    aer: Aer | None = None


@dataclass(frozen=True)
class PcieBar:
    """A window of a device's memory in the machine's addresses: region number, start, bytes.

    largest: the most bytes that the window can have (Resizable BAR); None if the card cannot
    resize it, or the kernel is older than 6.1.
    """

    region: int
    start: int
    size: int
    largest: int | None = None


@dataclass(frozen=True)
class PcieGpu:
    """A display controller and its path, root port first and the GPU last."""

    address: str
    vendor_id: str
    device_id: str
    subsystem_vendor_id: str
    subsystem_id: str
    revision: str
    driver: str | None
    numa_node: int | None
    path: tuple[PciePort, ...]
    bars: tuple[PcieBar, ...] = ()

    @property
    def answers(self) -> bool:
        """False when the GPU fell off the bus."""
        return self.path[-1].answers

    @property
    def root_port(self) -> str | None:
        """The root port's address; None for a GPU integrated in the processor, or in a VM."""
        first = self.path[0]
        return first.address if first.kind == ROOT_PORT else None

    @property
    def path_width(self) -> int | None:
        """The narrowest current width on the path."""
        return find_least(port.link.current_width for port in self.path)

    @property
    def path_max_width(self) -> int | None:
        """The width that the narrowest device on the path could have."""
        return find_least(port.link.max_width for port in self.path)

    @property
    def path_speed_gts(self) -> float | None:
        """The slowest current speed on the path: at idle 2.5 on any hardware."""
        return find_least(port.link.current_speed_gts for port in self.path)

    @property
    def path_speed_max_gts(self) -> float | None:
        """The speed that the slowest device on the path could have."""
        return find_least(port.link.max_speed_gts for port in self.path)


def raise_exhausted(error: OSError) -> None:
    """Raise the error again if no descriptor was left; any other error is about the file.

    A reading that is empty for lack of descriptors would look like a missing file.
    """
    if error.errno in EXHAUSTED:
        raise error


def find_least(values: Iterable[Number | None]) -> Number | None:
    """Return the least of the values that are not None."""
    numbers = [value for value in values if value is not None]
    return min(numbers) if numbers else None


def read_gpus(
    sysfs: str = "/sys", vendors: Sequence[str] | None = (NVIDIA,), aer: bool = False
) -> list[PcieGpu]:
    """Return the display controllers of `vendors` (None: of any), ordered by address.

    aer: also read the error counters of each port on a path.
    """
    folder = os.path.join(sysfs, "bus/pci/devices")
    gpus = []
    for name in sorted(list_devices(sysfs), key=_address_order):
        device = os.path.join(folder, name)
        if not (_read_text(device, "class") or "").startswith(DISPLAY_CLASSES):
            continue
        if vendors is None or _read_identifier(device, "vendor") in vendors:
            gpus.append(_read_gpu(os.path.realpath(device), aer))
    return gpus


def read_path(device: str, aer: bool = False) -> tuple[PciePort, ...]:
    """Return every PCI device on the path to `device` (its real folder in sysfs), root port first.

    Only root can read a device's PCIe type. A bridge's kind is derived from its position: the first
    has no bridge above it, and a switch's ports follow in pairs.
    """
    folders: list[str] = []
    while ADDRESS.fullmatch(os.path.basename(device)):
        folders.insert(0, device)
        device = os.path.dirname(device)
    ports: list[PciePort] = []
    for folder in folders:
        above = ports[-1].kind if ports else None
        ports.append(_read_port(folder, above, aer))
    return tuple(ports)


def read_aer(device: str) -> Aer | None:
    """Return a device's error counters; None if the kernel has none (`pci=noaer`, or it is old)."""
    texts = [_read_text(device, f"aer_dev_{name}") for name in ("correctable", "nonfatal", "fatal")]
    if all(text is None for text in texts):
        return None
    return Aer(*(_parse_counters(text or "") for text in texts))


def _read_gpu(device: str, aer: bool) -> PcieGpu:
    driver = os.path.join(device, "driver")
    node = _read_integer(device, "numa_node")
    return PcieGpu(
        address=os.path.basename(device),
        vendor_id=_read_identifier(device, "vendor"),
        device_id=_read_identifier(device, "device"),
        subsystem_vendor_id=_read_identifier(device, "subsystem_vendor"),
        subsystem_id=_read_identifier(device, "subsystem_device"),
        revision=(_read_text(device, "revision") or "").replace("0x", ""),
        driver=os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else None,
        numa_node=node if node is not None and node >= 0 else None,
        path=read_path(device, aer),
        bars=read_bars(device),
    )


def read_bars(device: str) -> tuple[PcieBar, ...]:
    """Return the device's memory windows that have an address from the firmware or the kernel.

    `resource` has a line for each region: first address, last address, flags. The first six are the
    BARs; a 64-bit one takes two lines, the second of them empty.
    """
    bars = []
    for region, line in enumerate((_read_text(device, "resource") or "").splitlines()[:6]):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags & IORESOURCE_MEM and end > start > 0:
            bars.append(PcieBar(region, start, end - start + 1, _largest(device, region)))
    return tuple(bars)


def _largest(device: str, region: int) -> int | None:
    """Read `resourceN_resize`, a mask in hexadecimal: bit n means 2^n MiB."""
    mask = _read_text(device, f"resource{region}_resize") or "0"
    return 1 << (int(mask, 16).bit_length() - 1 + 20) if int(mask, 16) else None


def read_root_ports(sysfs: str = "/sys") -> tuple[PciePort, ...]:
    """Return all root ports, including unused ones, ordered by address."""
    folder = os.path.join(sysfs, "bus/pci/devices")
    ports = []
    for name in sorted(list_devices(sysfs), key=_address_order):
        device = os.path.realpath(os.path.join(folder, name))
        if not ADDRESS.fullmatch(os.path.basename(os.path.dirname(device))):
            port = _read_port(device, None, False)
            if port.kind == ROOT_PORT:
                ports.append(port)
    return tuple(ports)


def read_link(device: str) -> PcieLink:
    """Return a device's end of the link above it."""
    return PcieLink(
        current_width=_read_width(device, "current_link_width"),
        max_width=_read_width(device, "max_link_width"),
        current_speed_gts=_read_speed(device, "current_link_speed"),
        max_speed_gts=_read_speed(device, "max_link_speed"),
    )


def read_current(device: str) -> tuple[int | None, float | None, bool]:
    """Return what changes in a device: width (lanes), speed (GT/s), and whether it answers.

    The registers of a device that fell off the bus read as all ones.
    """
    lanes = _read_integer(device, "current_link_width")
    width = lanes if lanes in WIDTHS else None
    return width, _read_speed(device, "current_link_speed"), lanes != ALL_ONES_WIDTH


def list_devices(sysfs: str = "/sys") -> list[str]:
    """Return the addresses of all PCI devices; empty if the machine has no PCI bus."""
    try:
        return os.listdir(os.path.join(sysfs, "bus/pci/devices"))
    except OSError as error:
        raise_exhausted(error)
        return []


def _read_port(device: str, above: str | None, aer: bool) -> PciePort:
    link = read_link(device)
    return PciePort(
        address=os.path.basename(device),
        kind=_read_kind(device, above, link),
        vendor_id=_read_identifier(device, "vendor"),
        device_id=_read_identifier(device, "device"),
        link=link,
        answers=read_current(device)[2],
        aer=read_aer(device) if aer else None,
    )


def _read_kind(device: str, above: str | None, link: PcieLink) -> str:
    if not (_read_text(device, "class") or "").startswith("0x06"):
        return ENDPOINT
    if link.max_width is None and link.current_width is None:
        return BRIDGE  # of conventional PCI, or a virtual machine's
    if above is None:
        return ROOT_PORT
    return DOWNSTREAM_PORT if above == UPSTREAM_PORT else UPSTREAM_PORT


def _read_text(device: str, name: str) -> str | None:
    # os.open instead of open(): the agent reads dozens of these files every second.
    try:
        file = os.open(f"{device}/{name}", os.O_RDONLY)
    except OSError as error:
        raise_exhausted(error)
        return None
    try:
        return os.read(file, 65536).decode("ascii", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(file)


def _read_identifier(device: str, name: str) -> str:
    """Return an id as lspci writes it: four hexadecimal digits; empty if it is missing."""
    text = (_read_text(device, name) or "").lower()
    return text[2:] if re.fullmatch(r"0x[0-9a-f]{4}", text) else ""


def _read_integer(device: str, name: str) -> int | None:
    try:
        return int(_read_text(device, name) or "")
    except ValueError:
        return None


def _read_width(device: str, name: str) -> int | None:
    value = _read_integer(device, name)
    return value if value in WIDTHS else None


def _read_speed(device: str, name: str) -> float | None:
    """Return 16.0 for "16.0 GT/s PCIe", None for "Unknown"."""
    match = re.match(r"(\d+(?:\.\d+)?) GT/s", _read_text(device, name) or "")
    return float(match.group(1)) if match else None


@functools.lru_cache(maxsize=256)  # they change seldom and are read often
def _parse_counters(text: str) -> Mapping[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}


def _address_order(name: str) -> tuple[int, str]:
    return len(name), name  # a long domain (VMD's 10000:) comes after 0000:
