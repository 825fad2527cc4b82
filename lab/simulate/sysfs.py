"""The rig's /sys: PCIe tree, board, network interface, firmware, USB."""

from __future__ import annotations

from pathlib import Path

from lab.simulate.hardware import Hardware, LabGpu
from lab.simulate.pcie import write_tree

SECURE_BOOT = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
NIC = "0000:05:00.0"
MAC = "70:85:c2:5a:11:0e"
#: Parts of the host's /sys that stay, because programs read them (to count CPUs, for example).
KEPT = ("virtual", "system", "platform")


def write_sys(
    sys: Path, hardware: Hardware, profile: str, gpus: list[LabGpu], *, interface: str, aer: bool
) -> list[str]:
    """Write the tree, and return the nspawn options that mount it over the rig's /sys."""
    write_tree(sys, hardware.tree(profile, gpus), aer=aer)
    _write_classes(sys, hardware, interface)
    set_secure_boot(sys, on=False)
    (sys / "bus/usb/devices").mkdir(parents=True)
    (sys / "module").mkdir()
    folders = ("bus", "class", "devices", "firmware", "module")
    binds = [f"--bind={_escape(sys / name)}:/sys/{name}" for name in folders]
    for name in KEPT:
        if Path("/sys/devices", name).is_dir():
            (sys / "devices" / name).mkdir()
            binds.append(f"--bind-ro=/sys/devices/{name}")
    return binds


def set_secure_boot(sys: Path, *, on: bool) -> None:
    """Set the firmware variable: four bytes of attributes, then the value."""
    file = sys / SECURE_BOOT
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\x06\x00\x00\x00" + bytes([on]))


def set_usb(sys: Path, port: str, vendor_product: str | None) -> None:
    """Plug a device into a USB port, or unplug it."""
    device = sys / "bus/usb/devices" / port
    if vendor_product is None:
        for file in device.glob("*"):
            file.unlink()
        if device.is_dir():
            device.rmdir()
        return
    vendor, product = vendor_product.split(":")
    device.mkdir(exist_ok=True)
    values = {"idVendor": vendor, "idProduct": product, "bDeviceClass": "ff", "product": "WatchDog"}
    for name, value in values.items():
        (device / name).write_text(f"{value}\n")


def _write_classes(sys: Path, hardware: Hardware, interface: str) -> None:
    for source in Path("/sys/class").iterdir():
        folder = sys / "class" / source.name
        folder.mkdir(parents=True)
        if source.name not in {"net", "dmi"} and source.is_dir():
            for link in source.iterdir():
                if link.is_symlink():
                    (folder / link.name).symlink_to(link.readlink())
    board = sys / "class/dmi/id"
    board.mkdir(parents=True)
    for name, value in hardware.board.items():
        (board / name).write_text(f"{value}\n")
    net = sys / "class/net"
    (net / "lo").symlink_to("../../devices/virtual/net/lo")
    card = net / interface
    card.mkdir()
    values = {
        "address": MAC,
        "operstate": "up",
        "carrier": "1",
        "mtu": "1500",
        "type": "1",
        "speed": "1000",
    }
    for name, value in values.items():
        (card / name).write_text(f"{value}\n")
    device = (sys / "bus/pci/devices" / NIC).readlink()
    (card / "device").symlink_to(Path("../../..") / str(device).removeprefix("../../../"))


def _escape(path: Path) -> str:
    return str(path).replace(":", "\\:")
