"""The shape of deeprig's own facts; provision/boundary/facts.py checks it on the other side."""

from __future__ import annotations

from typing import TypedDict

from provision.remote.facts.miners import Evidence
from provision.remote.facts.mining import MiningOs


class Port(TypedDict):
    """A device on the way to a GPU, with its end of the link above it. Speeds in GT/s."""

    address: str
    kind: str
    vendor_id: str
    device_id: str
    current_width: int | None
    max_width: int | None
    current_speed_gts: float | None
    max_speed_gts: float | None


class PathPort(Port):
    """The same. errors: since the boot, by severity; None where the kernel counts none."""

    errors: dict[str, int] | None


class Bar(TypedDict):
    """A memory region of a GPU."""

    region: int
    start: int
    size_bytes: int
    largest_bytes: int | None


class Gpu(TypedDict):
    """A GPU and its path."""

    address: str
    vendor_id: str
    device_id: str
    subsystem_vendor_id: str | None
    subsystem_id: str | None
    revision: str | None
    driver: str | None
    numa_node: int | None
    answers: bool
    root_port: str | None
    path_width: int | None
    path_max_width: int | None
    path_speed_max_gts: float | None
    path: list[PathPort]
    bars: list[Bar]


class Display(TypedDict):
    """A display of another vendor."""

    address: str
    vendor_id: str
    device_id: str
    driver: str | None


class BoardFacts(TypedDict):
    """The board, as its firmware reports it."""

    vendor: str
    name: str
    bios_vendor: str
    bios_version: str
    bios_date: str
    efi: bool
    iommus: list[str]
    nvme: list[str]


class CpuFacts(TypedDict):
    """The processors together."""

    model: str
    threads: int
    cores: int


class MemoryFacts(TypedDict):
    """MiB."""

    total_mib: int
    swap_total_mib: int


class RootDisk(TypedDict):
    """Where / is. diskless: what is written there is lost, or lies on another machine."""

    source: str
    filesystem: str
    size_bytes: int
    free_bytes: int
    read_only: bool
    diskless: bool


class Driver(TypedDict):
    """The loaded driver, and the installed one."""

    loaded_version: str | None
    loaded_flavour: str | None
    library_version: str | None
    library_owner: str | None
    package_versions: dict[str, str]
    nouveau_loaded: bool
    runfile_uninstaller: str | None


class Software(TypedDict):
    """Versions; None for what is not there."""

    cuda: str | None
    nccl: str | None
    torch: str | None


class UsbWatchdog(TypedDict):
    """A USB device that may reset the board. sure: it is one, whatever else shares its id."""

    id: str
    sysfs: str
    product: str
    sure: bool


class Kernel(TypedDict):
    """The kernel that runs. headers: whether those of this release are installed."""

    release: str
    command_line: list[str]
    headers: bool


class Interface(TypedDict):
    """A network interface with its addresses and their prefix lengths."""

    name: str
    mac: str
    addresses: list[str]


class NetworkFacts(TypedDict):
    """Interfaces, and the files for which net.ifnames=0 must stay."""

    interfaces: list[Interface]
    ifnames_needed_by: list[str]


class RigFacts(TypedDict):
    """All of `ansible_local.deeprig`."""

    boot_id: str
    gpus: list[Gpu]
    root_ports: list[Port]
    other_displays: list[Display]
    board: BoardFacts
    cpu: CpuFacts
    memory: MemoryFacts
    root_disk: RootDisk
    mining_os: MiningOs | None
    miners: list[Evidence]
    access: list[Evidence]
    workstation: list[str]
    driver: Driver
    software: Software
    secure_boot: bool | None
    usb_watchdogs: list[UsbWatchdog]
    kernel: Kernel
    network: NetworkFacts
    reboot_required: bool
