"""The facts of a rig, as types: `ansible_local.deeprig` of provision/remote/facts/rig.py.

A new fact needs its field here: what is not listed does not pass. The forms of names, addresses and
identifiers are those of patterns.py; other texts are cleaned and bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from provision.boundary import patterns
from provision.boundary.decode import check_type, clean_texts
from provision.boundary.fact_types import (
    Count,
    Number,
    Package,
    Path,
    Paths,
    PciAddress,
    PciId,
    Speed,
    Text,
    Texts,
    Version,
    Width,
)
from provision.boundary.package_facts import (
    AptState,
    DriverAlternative,
    DriverPackage,
    KernelState,
    Modules,
)


class Port(TypedDict):
    """A device on the way to a GPU, with its end of the link above it."""

    address: PciAddress
    kind: Text
    vendor_id: PciId
    device_id: PciId
    current_width: Width | None
    max_width: Width | None
    current_speed_gts: Speed | None
    max_speed_gts: Speed | None


class PathPort(Port):
    """The same, with its AER counts by severity; None where the kernel counts none."""

    errors: dict[Text, Count] | None


class Bar(TypedDict):
    """A memory region of a GPU."""

    region: Count
    start: Count
    size_bytes: Count
    largest_bytes: Count | None


class Gpu(TypedDict):
    """One GPU and its path."""

    address: PciAddress
    vendor_id: PciId
    device_id: PciId
    subsystem_vendor_id: PciId | None
    subsystem_id: PciId | None
    revision: PciId | None
    driver: Text | None
    numa_node: Number | None
    answers: bool
    root_port: PciAddress | None
    path_width: Width | None
    path_max_width: Width | None
    path_speed_max_gts: Speed | None
    path: Annotated[list[PathPort], Meta(max_length=64)]
    bars: Annotated[list[Bar], Meta(max_length=64)]


class Display(TypedDict):
    """A display of another vendor."""

    address: PciAddress
    vendor_id: PciId
    device_id: PciId
    driver: Text | None


class BoardFacts(TypedDict):
    """The board, as its firmware reports it."""

    vendor: Text
    name: Text
    bios_vendor: Text
    bios_version: Text
    bios_date: Text
    efi: bool
    iommus: Texts
    nvme: Annotated[list[PciAddress], Meta(max_length=256)]


class CpuFacts(TypedDict):
    """The processors together."""

    model: Text
    threads: Count
    cores: Count


class MemoryFacts(TypedDict):
    """MiB."""

    total_mib: Count
    swap_total_mib: Count


class RootDisk(TypedDict):
    """Where / is."""

    source: Text
    filesystem: Text
    size_bytes: Count
    free_bytes: Count
    read_only: bool
    diskless: bool


class FileSystem(TypedDict):
    """A file system that packages fill. free_inodes: None where their number is not fixed."""

    mount: Path
    size_bytes: Count
    free_bytes: Count
    free_inodes: Count | None


class MiningOs(TypedDict):
    """The mining system, by what it was recognised."""

    key: Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z")]
    name: Text
    confidence: Text
    evidence: Texts
    missing: Texts
    folders: Paths
    others: Annotated[
        list[Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z")]], Meta(max_length=32)
    ]


class Evidence(TypedDict):
    """A program, file, key or setting of a miner, of what starts it, or of what is around it."""

    kind: Annotated[str, Meta(pattern=r"\A[a-z .-]{1,32}\Z")]
    name: Text
    evidence: Text


class Suspect(Evidence):
    """What may be a miner or start one, and why."""

    signs: Texts
    doubt: Annotated[str, Meta(pattern=r"\A(name|gpu|reset)\Z")]


class Takeover(TypedDict):
    """Signs that another person was root, and those that an earlier run recorded."""

    signs: Annotated[list[Evidence], Meta(max_length=4096)]
    recorded: Annotated[list[Evidence], Meta(max_length=4096)]


class Rental(TypedDict):
    """A platform that rents out this machine, and the evidence."""

    key: Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z")]
    name: Text
    evidence: Texts


class Driver(TypedDict):
    """The loaded driver, and the installed one."""

    loaded_version: Version | None
    loaded_flavour: Text | None
    library_version: Version | None
    library_owner: Text | None
    package_versions: dict[Package, Version]
    packages: Annotated[list[DriverPackage], Meta(max_length=4096)]
    alternatives: Annotated[list[DriverAlternative], Meta(max_length=8)]
    nouveau_loaded: bool
    runfile_uninstaller: Path | None


class Software(TypedDict):
    """Versions."""

    cuda: Version | None
    cuda_packages: dict[Package, Version]
    nccl: Version | None
    torch: Version | None


class UsbWatchdog(TypedDict):
    """A USB device that may reset the board."""

    id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{4}:[0-9a-f]{4}\Z")]
    sysfs: Path
    product: Text
    sure: bool


class BootKernel(TypedDict):
    """A kernel with an entry in the boot menu. entry: what names it as the default."""

    release: Text
    entry: Text
    arguments: Texts
    headers: bool


class Boot(TypedDict):
    """The boot menu. loader: "grub", or empty. next: what boots if nothing is chosen."""

    loader: Text
    next: BootKernel | None
    kernels: Annotated[list[BootKernel], Meta(max_length=256)]


class Kernel(TypedDict):
    """The kernel that runs, and those that may boot."""

    release: Text
    command_line: Texts
    parameters: Texts
    parameters_next: Texts
    headers: bool
    boot: Boot


class Interface(TypedDict):
    """A network interface with its addresses and their prefix lengths."""

    name: Annotated[str, Meta(pattern=patterns.INTERFACE)]
    mac: Annotated[str, Meta(pattern=patterns.MAC)]
    addresses: Annotated[list[Text], Meta(max_length=256)]


class NetworkFacts(TypedDict):
    """Interfaces, and the files for which net.ifnames=0 must stay."""

    interfaces: Annotated[list[Interface], Meta(max_length=1024)]
    ifnames_needed_by: Paths


class RigFacts(TypedDict):
    """All of `ansible_local.deeprig`."""

    boot_id: Annotated[str, Meta(pattern=patterns.BOOT_ID)]
    gpus: Annotated[list[Gpu], Meta(max_length=64)]
    root_ports: Annotated[list[Port], Meta(max_length=1024)]
    other_displays: Annotated[list[Display], Meta(max_length=64)]
    board: BoardFacts
    cpu: CpuFacts
    memory: MemoryFacts
    root_disk: RootDisk
    file_systems: Annotated[list[FileSystem], Meta(max_length=64)]
    mining_os: MiningOs | None
    miners: Annotated[list[Evidence], Meta(max_length=4096)]
    suspects: Annotated[list[Suspect], Meta(max_length=4096)]
    gpu_work: Annotated[list[Evidence], Meta(max_length=4096)]
    restart_seconds: Count
    access: Annotated[list[Evidence], Meta(max_length=4096)]
    surroundings: Annotated[list[Evidence], Meta(max_length=4096)]
    taken_over: Takeover
    rental: Annotated[list[Rental], Meta(max_length=64)]
    workstation: Texts
    driver: Driver
    apt: AptState
    modules: Modules
    software: Software
    secure_boot: bool | None
    usb_watchdogs: Annotated[list[UsbWatchdog], Meta(max_length=256)]
    kernel: Kernel
    kernels: Annotated[list[KernelState], Meta(max_length=4096)]
    network: NetworkFacts
    reboot_required: bool


class Base(TypedDict):
    """Of Ansible's own facts, those that deeprig itself reads on this side."""

    ansible_distribution: Text
    ansible_distribution_version: Text


class Local(TypedDict):
    """`ansible_local`."""

    deeprig: RigFacts


class GatheredFacts(Base):
    """`ansible_*` facts as gathered."""

    ansible_local: Local


def check_rig_facts(facts: Mapping[str, Any]) -> RigFacts:
    """Return `ansible_local.deeprig`, checked and clean. Raises BoundaryError."""
    return _with_addresses(check_type(facts, RigFacts, "facts"))


def check_facts(facts: Mapping[str, Any]) -> GatheredFacts:
    """Return all `ansible_*` facts, deeprig's own checked, all clean. Raises BoundaryError.

    It has more keys than its type: Ansible's other facts may be of any form.
    """
    checked = check_type(facts, GatheredFacts, "facts")
    rig_facts = _with_addresses(checked["ansible_local"]["deeprig"])
    cleaned: GatheredFacts = clean_texts(dict(facts))
    return {**cleaned, "ansible_local": {**cleaned["ansible_local"], "deeprig": rig_facts}}


def _with_addresses(facts: RigFacts) -> RigFacts:
    """Return the facts, once their addresses are found to be such. Raises DeeprigError."""
    for interface in facts["network"]["interfaces"]:
        for address in interface["addresses"]:
            patterns.check_address(address)
    return facts
