"""deeprig's own facts: what decides whether and how this rig can be converted."""

from __future__ import annotations

import re
from typing import Any

from agent.readings import pcie
from agent.readings.command_line import list_parameters
from provision.remote import dpkg
from provision.remote.facts import driver, hardware, network
from provision.remote.facts.access import access
from provision.remote.facts.apt_state import read_apt_state, read_package_lists
from provision.remote.facts.boot import boot
from provision.remote.facts.driver_packages import read_driver_packages
from provision.remote.facts.kernels import read_kernels
from provision.remote.facts.miners import find_miners
from provision.remote.facts.mining import mining_os
from provision.remote.facts.module_settings import read_module_settings
from provision.remote.facts.rental import rental
from provision.remote.facts.software import software
from provision.remote.facts.surroundings import surroundings
from provision.remote.facts.system import board
from provision.remote.facts.tables import table
from provision.remote.facts.takeover import takeover
from provision.remote.facts.tree import Tree
from provision.remote.facts.workstation import workstation

NVME_CLASS = "0x0108"  # PCI: mass storage, non-volatile memory
IN_MEMORY = ("tmpfs", "ramfs", "rootfs")
#: Where packages and their data go, if it is a file system apart.
PLACES = ("/", "/boot", "/boot/efi", "/usr", "/usr/local", "/var", "/var/cache", "/var/lib", "/opt")
NETWORK_FILES = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
    "/etc/netplan/*.yaml",
    "/etc/systemd/network/*",
    "/etc/udev/rules.d/*net*",
    "/etc/NetworkManager/system-connections/*",
)


def rig(
    tree: Tree, packages: dpkg.Database, known_addresses: list[network.Address] | None = None
) -> dict[str, Any]:
    """Return all of `ansible_local.deeprig`."""
    release = tree.line("/proc/sys/kernel/osrelease")
    firmware = board(tree)
    processors = hardware.processors(tree)
    memory = hardware.meminfo(tree)
    addresses = network.addresses() if known_addresses is None else known_addresses
    gpus = pcie.read_gpus(tree.path("/sys"), vendors=None, aer=True)
    system = mining_os(tree, packages)
    folders = system["folders"] if system else []
    mining = find_miners(tree, packages, folders)
    sources, lists = read_package_lists(tree, packages)
    driver_state = driver.driver(tree, packages)
    driver_state["packages"] = read_driver_packages(tree, packages, lists)
    menu = boot(tree)
    command_line = tree.line("/proc/cmdline").split()
    return {
        "boot_id": tree.line("/proc/sys/kernel/random/boot_id"),
        "gpus": [gpu_fact(gpu) for gpu in gpus if gpu.vendor_id == pcie.NVIDIA],
        "root_ports": [port_fact(port) for port in pcie.read_root_ports(tree.path("/sys"))],
        "other_displays": [
            {name: getattr(gpu, name) for name in ("address", "vendor_id", "device_id", "driver")}
            for gpu in gpus
            if gpu.vendor_id != pcie.NVIDIA
        ],
        "board": {
            "vendor": firmware["board_vendor"],
            "name": firmware["board_name"],
            "bios_vendor": firmware["bios_vendor"],
            "bios_version": firmware["bios_version"],
            "bios_date": firmware["bios_date"],
            "efi": tree.exists("/sys/firmware/efi"),
            # IOMMUs that the kernel uses; none where the firmware or the command line has it off.
            "iommus": tree.names("/sys/class/iommu"),
            "nvme": nvme(tree),
        },
        "cpu": {
            "model": hardware.cpu_model(tree),
            "threads": processors["processor_vcpus"],
            "cores": processors["processor_cores"] * processors["processor_count"],
        },
        "memory": {
            "total_mib": memory.get("MemTotal", 0),
            "swap_total_mib": memory.get("SwapTotal", 0),
        },
        "root_disk": root_disk(tree),
        "file_systems": file_systems(tree),
        "mining_os": system,
        **mining,
        "access": access(tree),
        "surroundings": surroundings(tree, folders, bool(system or mining["miners"])),
        "taken_over": takeover(tree),
        "rental": rental(tree),
        "workstation": workstation(tree),
        "driver": driver_state,
        "apt": read_apt_state(tree, packages, sources, lists),
        "modules": {"settings": read_module_settings(tree)},
        "software": software(tree, packages),
        "secure_boot": driver.secure_boot(tree),
        "usb_watchdogs": usb_watchdogs(tree),
        "kernel": {
            "release": release,
            "command_line": command_line,
            # Of the kernel that runs, and of the boot menu's default, those of a list one by one.
            "parameters": list_parameters(command_line),
            "parameters_next": list_parameters(menu["next"]["arguments"] if menu["next"] else []),
            "headers": driver.kernel_headers(tree, release),
            "boot": menu,
        },
        "kernels": read_kernels(tree, packages, menu, release, driver.list_versions(driver_state)),
        "network": {
            "interfaces": interfaces(tree, addresses),
            "ifnames_needed_by": numbered_interfaces(tree),
        },
        "reboot_required": tree.exists("/run/reboot-required")
        or tree.exists("/var/run/reboot-required"),
    }


def gpu_fact(gpu: pcie.PcieGpu) -> dict[str, Any]:
    """Return one GPU and its path."""
    return {
        "address": gpu.address,
        "vendor_id": gpu.vendor_id,
        "device_id": gpu.device_id,
        "subsystem_vendor_id": gpu.subsystem_vendor_id,
        "subsystem_id": gpu.subsystem_id,
        "revision": gpu.revision,
        "driver": gpu.driver,
        "numa_node": gpu.numa_node,
        "answers": gpu.answers,
        "root_port": gpu.root_port,
        "path_width": gpu.path_width,
        "path_max_width": gpu.path_max_width,
        "path_speed_max_gts": gpu.path_speed_max_gts,
        # errors: since the boot, by severity; None where the kernel counts none.
        "path": [
            {**port_fact(port), "errors": port.aer.totals if port.aer else None}
            for port in gpu.path
        ],
        "bars": [
            {
                "region": bar.region,
                "start": bar.start,
                "size_bytes": bar.size,
                "largest_bytes": bar.largest,
            }
            for bar in gpu.bars
        ],
    }


def port_fact(port: pcie.PciePort) -> dict[str, Any]:
    """Return a device on a path, with its end of the link above it."""
    return {
        "address": port.address,
        "kind": port.kind,
        "vendor_id": port.vendor_id,
        "device_id": port.device_id,
        "current_width": port.link.current_width,
        "max_width": port.link.max_width,
        "current_speed_gts": port.link.current_speed_gts,
        "max_speed_gts": port.link.max_speed_gts,
    }


def nvme(tree: Tree) -> list[str]:
    """Return the addresses of NVMe disks: in an M.2 slot, they may take lanes of another."""
    folder = "/sys/bus/pci/devices"
    return [
        name
        for name in tree.names(folder)
        if tree.line(f"{folder}/{name}/class").startswith(NVME_CLASS)
    ]


def root_disk(tree: Tree) -> dict[str, Any]:
    """Return where the root file system is, how large, and whether it is a disk at all."""
    mounted = hardware.mount_table(tree)
    roots = [entry for entry in mounted if entry["mount"] == "/"]
    root = roots[-1] if roots else {"device": "", "fstype": "", "options": "", "mount": "/"}
    sizes = tree.usage("/")
    return {
        "source": root["device"],
        "filesystem": root["fstype"],
        "size_bytes": sizes.get("size_total", 0),
        "free_bytes": sizes.get("size_available", 0),
        "read_only": "ro" in root["options"].split(","),
        "diskless": diskless(root, mounted),
    }


def file_systems(tree: Tree) -> list[dict[str, Any]]:
    """Return the file systems that packages fill: the root, and those below it that are apart."""
    mounted = {entry["mount"] for entry in hardware.mount_table(tree)}
    result = []
    for mount in PLACES:
        sizes = tree.usage(mount) if mount in mounted else {}
        if sizes:
            result.append(
                {
                    "mount": mount,
                    "size_bytes": sizes["size_total"],
                    "free_bytes": sizes["size_available"],
                    # None where the file system has no fixed number of them, as btrfs and vfat.
                    "free_inodes": sizes["inode_available"] if sizes["inode_total"] else None,
                }
            )
    return result


def diskless(root: dict[str, str], mounted: list[dict[str, str]]) -> bool:
    """Return whether what is written to / is lost with the power, or lies on another machine."""
    if root["fstype"] in IN_MEMORY or root["fstype"].startswith("nfs"):
        return True
    match = re.search(r"(?:^|,)upperdir=([^,]+)", root["options"])
    if root["fstype"] not in ("overlay", "overlayfs", "aufs") or not match:
        return False
    upper = match.group(1)
    holders = [
        entry
        for entry in mounted
        if entry["mount"] != "/" and f"{upper}/".startswith(f"{entry['mount']}/")
    ]
    holder = max(holders, key=lambda entry: len(entry["mount"]), default=None)
    return holder is not None and holder["fstype"] in IN_MEMORY


def usb_watchdogs(tree: Tree) -> list[dict[str, Any]]:
    """Return USB devices that may reset the board unless a program pings them."""
    dongles = {dongle["id"]: dongle for dongle in table("usb_watchdogs.json")["dongles"]}
    watchdogs = []
    for name in tree.names("/sys/bus/usb/devices"):
        folder = f"/sys/bus/usb/devices/{name}"
        identifier = f"{tree.line(folder + '/idVendor')}:{tree.line(folder + '/idProduct')}".lower()
        if identifier in dongles:
            watchdogs.append(
                {
                    "id": identifier,
                    "sysfs": folder,
                    "product": tree.line(f"{folder}/product") or dongles[identifier]["name"],
                    "sure": dongles[identifier]["sure"],
                }
            )
    return watchdogs


def interfaces(tree: Tree, assigned_addresses: list[network.Address]) -> list[dict[str, Any]]:
    """Return the interfaces that are hardware or carry addresses, with their MAC addresses."""
    result = []
    for name in tree.names("/sys/class/net"):
        if name == "lo":
            continue
        mac = tree.line(f"/sys/class/net/{name}/address")
        interface_addresses = [
            f"{address.address}/{address.prefix}"
            for address in assigned_addresses
            if address.interface == name
        ]
        if interface_addresses or tree.exists(f"/sys/class/net/{name}/device"):
            result.append({"name": name, "mac": mac, "addresses": interface_addresses})
    return result


def numbered_interfaces(tree: Tree) -> list[str]:
    """Return the files that speak of eth0 and its like: `net.ifnames=0` must stay while they do."""
    paths = [path for pattern in NETWORK_FILES for path in tree.glob(pattern)]
    return [path for path in paths if re.search(r"\beth\d+\b", "\n".join(tree.lines(path)))]
