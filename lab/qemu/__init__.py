"""A QEMU machine with a real kernel, for its PCIe ports, switches and errors.

Lab rigs (systemd-nspawn) share their host's kernel and see files that look like sysfs. Here a real
kernel enumerates emulated hardware, and tests compare its sysfs with QEMU's options.
"""
