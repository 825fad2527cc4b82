"""The PCIe tree as sysfs shows it: GPUs, and every link between each and its root port.

Nothing here needs root. What counts for a GPU is the narrowest link on its path: a card's own
`max_link_width` says nothing about the slot, riser or switch above it. Widths hold at idle; speeds
drop to 2.5 GT/s, so a current speed means something only under load.
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

#: Errors of this process, whatever it reads: it, or the system, has no descriptor left.
EXHAUSTED = (errno.EMFILE, errno.ENFILE)

ROOT_PORT = "root port"
UPSTREAM_PORT = "upstream port"
DOWNSTREAM_PORT = "downstream port"
BRIDGE = "bridge"
ENDPOINT = "endpoint"


@dataclass(frozen=True)
class Link:
    """One end of a link. A value that the kernel does not know is None."""

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
        """The sum of each severity; the kernel's own total is not trusted to be there."""
        return {
            severity: sum(n for name, n in counters.items() if not name.startswith(TOTALS))
            for severity, counters in (
                ("correctable", self.correctable), ("nonfatal", self.nonfatal),
                ("fatal", self.fatal),
            )
        }  # fmt: skip


@dataclass(frozen=True)
class Port:
    """A device on the way from a root port to a GPU, the GPU itself included.

    answers is False for a device that fell off the bus: its registers read as all ones.
    aer is None when it was not asked for, or when the kernel counts no errors here.
    """

    address: str
    kind: str
    vendor_id: str
    device_id: str
    link: Link
    answers: bool = True
    aer: Aer | None = None


@dataclass(frozen=True)
class Bar:
    """A window of a device's memory in the machine's addresses: region number, start, bytes.

    largest: the most bytes that it can be given (Resizable BAR); None where the kernel does not
    tell: it is older than 6.1, or the card can't.
    """

    region: int
    start: int
    size: int
    largest: int | None = None


@dataclass(frozen=True)
class Gpu:
    """A display controller and its path, root port first and the GPU last."""

    address: str
    vendor_id: str
    device_id: str
    subsystem_vendor_id: str
    subsystem_id: str
    revision: str
    driver: str | None
    numa_node: int | None
    path: tuple[Port, ...]
    bars: tuple[Bar, ...] = ()

    @property
    def answers(self) -> bool:
        """False when the GPU fell off the bus."""
        return self.path[-1].answers

    @property
    def root_port(self) -> str | None:
        """The root port's address; None for one integrated in the processor, or in a VM."""
        first = self.path[0]
        return first.address if first.kind == ROOT_PORT else None

    @property
    def path_width(self) -> int | None:
        """The narrowest width on the path now."""
        return narrowest(port.link.current_width for port in self.path)

    @property
    def path_max_width(self) -> int | None:
        """The width that the narrowest device on the path could have."""
        return narrowest(port.link.max_width for port in self.path)

    @property
    def path_speed_gts(self) -> float | None:
        """The slowest speed on the path now: at idle 2.5 whatever the hardware is."""
        return narrowest(port.link.current_speed_gts for port in self.path)

    @property
    def path_speed_max_gts(self) -> float | None:
        """The speed that the slowest device on the path could have."""
        return narrowest(port.link.max_speed_gts for port in self.path)


def raise_exhausted(error: OSError) -> None:
    """Raise the error if no descriptor was left; every other error is about the file.

    Without a descriptor nothing is known: an empty reading would mean that the file is missing.
    """
    if error.errno in EXHAUSTED:
        raise error


def narrowest(values: Iterable[Number | None]) -> Number | None:
    """The least of the known values."""
    known = [value for value in values if value is not None]
    return min(known) if known else None


def read_gpus(
    sysfs: str = "/sys", vendors: Sequence[str] | None = (NVIDIA,), aer: bool = False
) -> list[Gpu]:
    """The display controllers of `vendors` (None: of any), in the order of their addresses.

    With aer, each port on a path also has its error counters.
    """
    folder = os.path.join(sysfs, "bus/pci/devices")
    gpus = []
    for name in sorted(list_devices(sysfs), key=_address_order):
        device = os.path.join(folder, name)
        if not (_text(device, "class") or "").startswith(DISPLAY_CLASSES):
            continue
        if vendors is None or _identifier(device, "vendor") in vendors:
            gpus.append(_read_gpu(os.path.realpath(device), aer))
    return gpus


def read_path(device: str, aer: bool = False) -> tuple[Port, ...]:
    """Every PCI device on the way to `device` (its real folder in sysfs), root port first.

    The kernel tells anyone a device's class but only root its PCIe type, so a bridge's kind comes
    from its place: the first has no bridge above it, and a switch's ports follow in pairs.
    """
    folders: list[str] = []
    while ADDRESS.fullmatch(os.path.basename(device)):
        folders.insert(0, device)
        device = os.path.dirname(device)
    ports: list[Port] = []
    for folder in folders:
        above = ports[-1].kind if ports else None
        ports.append(_read_port(folder, above, aer))
    return tuple(ports)


def read_aer(device: str) -> Aer | None:
    """A device's error counters; None where the kernel keeps none (`pci=noaer`, an old kernel)."""
    texts = [_text(device, f"aer_dev_{name}") for name in ("correctable", "nonfatal", "fatal")]
    if all(text is None for text in texts):
        return None
    return Aer(*(_counters(text or "") for text in texts))


def _read_gpu(device: str, aer: bool) -> Gpu:
    driver = os.path.join(device, "driver")
    node = _integer(device, "numa_node")
    return Gpu(
        address=os.path.basename(device),
        vendor_id=_identifier(device, "vendor"),
        device_id=_identifier(device, "device"),
        subsystem_vendor_id=_identifier(device, "subsystem_vendor"),
        subsystem_id=_identifier(device, "subsystem_device"),
        revision=(_text(device, "revision") or "").replace("0x", ""),
        driver=os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else None,
        numa_node=node if node is not None and node >= 0 else None,
        path=read_path(device, aer),
        bars=read_bars(device),
    )


def read_bars(device: str) -> tuple[Bar, ...]:
    """A device's memory windows that the firmware or the kernel gave an address.

    `resource` has a line for each region: first address, last address, flags. The first six are the
    BARs; a 64-bit one takes two lines, the second of them empty.
    """
    bars = []
    for region, line in enumerate((_text(device, "resource") or "").splitlines()[:6]):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags & IORESOURCE_MEM and end > start > 0:
            bars.append(Bar(region, start, end - start + 1, _largest(device, region)))
    return tuple(bars)


def _largest(device: str, region: int) -> int | None:
    """`resourceN_resize` is a mask in hexadecimal: bit n stands for 2^n MiB."""
    mask = _text(device, f"resource{region}_resize") or "0"
    return 1 << (int(mask, 16).bit_length() - 1 + 20) if int(mask, 16) else None


def read_root_ports(sysfs: str = "/sys") -> tuple[Port, ...]:
    """All root ports, those with nothing below included, in the order of their addresses."""
    folder = os.path.join(sysfs, "bus/pci/devices")
    ports = []
    for name in sorted(list_devices(sysfs), key=_address_order):
        device = os.path.realpath(os.path.join(folder, name))
        if not ADDRESS.fullmatch(os.path.basename(os.path.dirname(device))):
            port = _read_port(device, None, False)
            if port.kind == ROOT_PORT:
                ports.append(port)
    return tuple(ports)


def read_link(device: str) -> Link:
    """A device's end of the link above it."""
    return Link(
        current_width=_width(device, "current_link_width"),
        max_width=_width(device, "max_link_width"),
        current_speed_gts=_speed(device, "current_link_speed"),
        max_speed_gts=_speed(device, "max_link_speed"),
    )


def read_current(device: str) -> tuple[int | None, float | None, bool]:
    """What of a device changes: width (lanes), speed (GT/s), and whether it answers at all.

    One that fell off the bus does not: its registers read as all ones.
    """
    lanes = _integer(device, "current_link_width")
    width = lanes if lanes in WIDTHS else None
    return width, _speed(device, "current_link_speed"), lanes != ALL_ONES_WIDTH


def list_devices(sysfs: str = "/sys") -> list[str]:
    """The addresses of all PCI devices; empty where there is no bus."""
    try:
        return os.listdir(os.path.join(sysfs, "bus/pci/devices"))
    except OSError as error:
        raise_exhausted(error)
        return []


def _read_port(device: str, above: str | None, aer: bool) -> Port:
    link = read_link(device)
    return Port(
        address=os.path.basename(device),
        kind=_kind(device, above, link),
        vendor_id=_identifier(device, "vendor"),
        device_id=_identifier(device, "device"),
        link=link,
        answers=read_current(device)[2],
        aer=read_aer(device) if aer else None,
    )


def _kind(device: str, above: str | None, link: Link) -> str:
    if not (_text(device, "class") or "").startswith("0x06"):
        return ENDPOINT
    if link.max_width is None and link.current_width is None:
        return BRIDGE  # of conventional PCI, or a virtual machine's
    if above is None:
        return ROOT_PORT
    return DOWNSTREAM_PORT if above == UPSTREAM_PORT else UPSTREAM_PORT


def _text(device: str, name: str) -> str | None:
    # Below the io module: a resident reader asks for dozens of these every second.
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


def _identifier(device: str, name: str) -> str:
    """An id as lspci writes it: four hexadecimal digits; empty where there is none."""
    text = (_text(device, name) or "").lower()
    return text[2:] if re.fullmatch(r"0x[0-9a-f]{4}", text) else ""


def _integer(device: str, name: str) -> int | None:
    try:
        return int(_text(device, name) or "")
    except ValueError:
        return None


def _width(device: str, name: str) -> int | None:
    value = _integer(device, name)
    return value if value in WIDTHS else None


def _speed(device: str, name: str) -> float | None:
    """16.0 of "16.0 GT/s PCIe"; None of "Unknown"."""
    match = re.match(r"(\d+(?:\.\d+)?) GT/s", _text(device, name) or "")
    return float(match.group(1)) if match else None


@functools.lru_cache(maxsize=256)  # they seldom change, and are read again and again
def _counters(text: str) -> Mapping[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}


def _address_order(name: str) -> tuple[int, str]:
    return len(name), name  # a long domain (VMD's 10000:) comes after 0000:
