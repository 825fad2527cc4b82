"""A PCIe tree as Linux shows it below /sys, written as files and symbolic links."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from lab.simulate.hardware import MIB, Function, LabLink

#: How the kernel writes the speed of each generation, and of a link that is down.
SPEEDS = {
    0: "Unknown",
    1: "2.5 GT/s PCIe",
    2: "5.0 GT/s PCIe",
    3: "8.0 GT/s PCIe",
    4: "16.0 GT/s PCIe",
    5: "32.0 GT/s PCIe",
}
IDLE_GEN = 1
CAPABILITY, LINK_STATUS = 0x40, 0x52  # offsets in the configuration space

#: The counters of each AER file, in the kernel's order; the last is their sum.
AER = {
    "correctable": (
        "RxErr",
        "BadTLP",
        "BadDLLP",
        "Rollover",
        "Timeout",
        "NonFatalErr",
        "CorrIntErr",
        "HeaderOF",
        "TOTAL_ERR_COR",
    ),
    "nonfatal": (
        "Undefined",
        "DLP",
        "SDES",
        "TLP",
        "FCP",
        "CmpltTO",
        "CmpltAbrt",
        "UnxCmplt",
        "RxOF",
        "MalfTLP",
        "ECRC",
        "UnsupReq",
        "ACSViol",
        "UncorrIntErr",
        "BlockedTLP",
        "AtomicOpBlocked",
        "TLPBlockedErr",
        "PoisonTLPBlocked",
        "TOTAL_ERR_NONFATAL",
    ),
}
AER["fatal"] = (*AER["nonfatal"][:-1], "TOTAL_ERR_FATAL")
PORT_TYPES = {"root": 4, "upstream": 5, "downstream": 6}


def write_tree(sys: Path, functions: Iterable[Function], *, aer: bool) -> None:
    """Write devices/pci0000:00 and bus/pci below `sys`; without AER no aer_* files.

    The links of graphics cards start at the idle speed, as their driver leaves them.
    """
    by_place = {function.at: function for function in functions}
    bus = sys / "bus/pci"
    for folder in ("devices", "drivers", "slots"):
        (bus / folder).mkdir(parents=True, exist_ok=True)
    for function in by_place.values():
        path = sys / "devices" / device_path(function, by_place)
        path.mkdir(parents=True)
        for name, value in attributes(function, by_place).items():
            (path / name).write_text(f"{value}\n")
        (path / "config").write_bytes(config_space(function, by_place))
        if aer and function.link is not None:
            for kind in AER:
                write_aer(path, kind, {})
            if function.bridge and function.port == "root":
                for kind in ("cor", "nonfatal", "fatal"):
                    (path / f"aer_rootport_total_err_{kind}").write_text("0\n")
        above = "../" * (len(path.relative_to(sys).parts))
        (bus / "devices" / function.address).symlink_to(
            Path("../../..") / path.relative_to(sys), target_is_directory=True
        )
        (path / "subsystem").symlink_to(f"{above}bus/pci")
        if function.driver:
            driver = bus / "drivers" / function.driver
            driver.mkdir(exist_ok=True)
            (path / "driver").symlink_to(f"{above}bus/pci/drivers/{function.driver}")
            (driver / function.address).symlink_to(f"../../../../{path.relative_to(sys)}")
    for function in by_place.values():
        if function.class_ == "030000" and function.link is not None:
            set_link(sys, function.address, LabLink(IDLE_GEN, function.link.width))


def device_path(function: Function, by_place: dict[str, Function]) -> Path:
    """Return the path of a function below /sys/devices, through every bridge above it."""
    parts = [function.address]
    while function.under:
        function = by_place[function.under]
        parts.append(function.address)
    return Path("pci0000:00", *reversed(parts))


def attributes(function: Function, by_place: dict[str, Function]) -> dict[str, str]:
    """Return the text files of one function."""
    vendor, device = function.id.split(":")
    sub_vendor, sub_device = function.subsystem.split(":")
    alias = (
        f"pci:v0000{vendor}d0000{device}sv0000{sub_vendor}sd0000{sub_device}"
        f"bc{function.class_[:2]}sc{function.class_[2:4]}i{function.class_[4:]}"
    )
    files = {
        "vendor": f"0x{vendor}",
        "device": f"0x{device}",
        "class": f"0x{function.class_}",
        "revision": f"0x{function.revision}",
        "subsystem_vendor": f"0x{sub_vendor}",
        "subsystem_device": f"0x{sub_device}",
        "irq": "0" if not function.driver else "24",
        "enable": "1",
        "numa_node": "-1",
        "local_cpulist": "0-11",
        "power_state": "D0",
        "d3cold_allowed": "1",
        "modalias": alias.upper().replace("PCI:V", "pci:v"),
        "resource": "\n".join(_resources(function, by_place)),
        "uevent": f"PCI_CLASS={function.class_.lstrip('0').upper()}\n"
        f"PCI_ID={function.id.upper()}\nPCI_SUBSYS_ID={function.subsystem.upper()}\n"
        f"PCI_SLOT_NAME={function.address}",
    }
    if function.class_ == "030000":
        first = min(other.at for other in by_place.values() if other.class_ == "030000")
        files["boot_vga"] = str(int(function.at == first))
    if function.link is not None and function.max_link is not None:
        files |= {
            "current_link_speed": SPEEDS[function.link.gen],
            "current_link_width": str(function.link.width),
            "max_link_speed": SPEEDS[function.max_link.gen],
            "max_link_width": str(function.max_link.width),
        }
    if function.bridge:
        files["secondary_bus_number"] = str(int(function.bus, 16))
        files["subordinate_bus_number"] = str(_last_bus(function, by_place))
    return files


def set_link(sys: Path, address: str, link: LabLink, *, port: bool = True) -> None:
    """Change the link of a running device, at the device and at the port above it."""
    device = (sys / "bus/pci/devices" / address).resolve()
    ends = [*device.parent.glob(f"{address[:-1]}*"), *([device.parent] if port else [])]
    for end in ends:
        if (end / "current_link_width").exists():
            write(end / "current_link_speed", SPEEDS[link.gen])
            write(end / "current_link_width", str(link.width))
            _patch_config(end / "config", link)


def write_aer(device: Path, kind: str, counts: dict[str, int]) -> None:
    """Write one AER file of a device; other counters are 0."""
    *names, total = AER[kind]
    lines = [f"{name} {counts.get(name, 0)}" for name in names]
    write(device / f"aer_dev_{kind}", "\n".join([*lines, f"{total} {sum(counts.values())}"]))


def write(file: Path, text: str) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(f"{text}\n")
    draft.replace(file)


def config_space(function: Function, by_place: dict[str, Function]) -> bytes:
    """Return the 256 bytes that lspci decodes: the header and the PCI Express capability."""
    data = bytearray(256)
    vendor, device = (int(part, 16) for part in function.id.split(":"))
    sub_vendor, sub_device = (int(part, 16) for part in function.subsystem.split(":"))
    code = bytes.fromhex(function.class_)
    struct.pack_into("<HHHH", data, 0, vendor, device, 0x0407, 0x0010)
    data[8:12] = bytes([int(function.revision, 16), code[2], code[1], code[0]])
    several = any(
        other.at[:-1] == function.at[:-1] and other != function for other in by_place.values()
    )
    data[14] = (1 if function.bridge else 0) | (0x80 if several else 0)
    if function.bridge:
        data[24] = int(function.at.split(":")[0], 16)
        data[25], data[26] = int(function.bus, 16), _last_bus(function, by_place)
    else:
        struct.pack_into("<HH", data, 0x2C, sub_vendor, sub_device)
    if function.link is not None and function.max_link is not None:
        data[0x34] = CAPABILITY
        kind = PORT_TYPES[function.port] if function.bridge else 0
        most = function.max_link.gen | function.max_link.width << 4
        now = function.link.gen | function.link.width << 4
        struct.pack_into("<BBHIHHI", data, CAPABILITY, 0x10, 0, 2 | kind << 4, 0x8000, 0, 0, most)
        struct.pack_into("<H", data, LINK_STATUS, now)
        struct.pack_into("<I", data, 0x6C, (1 << function.max_link.gen) * 2 - 2)
    return bytes(data)


def _patch_config(file: Path, link: LabLink) -> None:
    """Change the link status that lspci decodes."""
    with file.open("r+b") as stream:
        stream.seek(LINK_STATUS)
        stream.write(struct.pack("<H", link.gen | (link.width << 4)))


def _last_bus(function: Function, by_place: dict[str, Function]) -> int:
    below = [other for other in by_place.values() if other.under == function.at and other.bridge]
    return max([int(function.bus, 16), *(_last_bus(other, by_place) for other in below)])


def _resources(function: Function, by_place: dict[str, Function]) -> list[str]:
    """Return the 13 lines of `resource`: start, end and flags of each BAR."""
    lines = ["0x0000000000000000 0x0000000000000000 0x0000000000000000"] * 13
    if function.bars:
        # Each card has its own window; BAR1 and BAR3 are 64 bits wide and take two lines.
        number = sorted(other.at for other in by_place.values() if other.bars).index(function.at)
        start = function.window + number * 512 * MIB
        for place, flags, size in zip(
            (0, 1, 3), (0x40200, 0x14220C, 0x14220C), function.bars, strict=True
        ):
            lines[place] = f"0x{start:016x} 0x{start + size * MIB - 1:016x} 0x{flags:016x}"
            start += max(size, 32) * MIB
    return lines
