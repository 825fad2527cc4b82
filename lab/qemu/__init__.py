"""A machine with a PCIe tree of the kernel's own: QEMU, its ports, switches and errors.

Lab rigs (systemd-nspawn) share their host's kernel and see files that look like sysfs. Here a real
kernel enumerates emulated hardware, and what it shows is compared with what QEMU was told.
"""
