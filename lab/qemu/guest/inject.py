"""Runs in the machine: `inject.py ADDRESS correctable|uncorrectable BIT` injects one PCIe error.

BIT: in that status register. The module aer_inject must be loaded.
"""

from __future__ import annotations

import os
import struct
import sys

PCIE_CAPABILITY, DEVICE_CONTROL, REPORT_ALL = 0x10, 8, 0xF


def report_errors(address: str) -> None:
    """Set the four bits by which a device sends error messages, as its driver would."""
    device = os.open(f"/sys/bus/pci/devices/{address}/config", os.O_RDWR)
    (at,) = os.pread(device, 1, 0x34)
    while at:
        kind, following = os.pread(device, 2, at)
        if kind == PCIE_CAPABILITY:
            (old,) = struct.unpack("<H", os.pread(device, 2, at + DEVICE_CONTROL))
            os.pwrite(device, struct.pack("<H", old | REPORT_ALL), at + DEVICE_CONTROL)
        at = following
    os.close(device)


def inject(address: str, correctable: int, uncorrectable: int) -> None:
    """One error: bus, device, function; uncorrectable and correctable bits; four words; domain."""
    domain, bus, rest = address.split(":")
    device, function = rest.split(".")
    error = struct.pack(
        "=BBBxIIIIIII",
        int(bus, 16),
        int(device, 16),
        int(function),
        uncorrectable,
        correctable,
        0,
        0,
        0,
        0,
        int(domain, 16),
    )
    injector = os.open("/dev/aer_inject", os.O_WRONLY)
    os.write(injector, error)
    os.close(injector)


if __name__ == "__main__":
    target, kind, bit = sys.argv[1:]
    status = 1 << int(bit)
    report_errors(target)
    inject(target, *((status, 0) if kind == "correctable" else (0, status)))
