"""Ansible's facts on the system: distribution, kernel, board, user, time, Python."""

from __future__ import annotations

import os
import platform
import pwd
import re
import struct
import sys
import time
from datetime import datetime, timezone
from typing import Any

from provision.remote.facts.tree import Tree

FAMILIES = {
    "Debian": ("debian", "ubuntu", "linuxmint", "pop", "raspbian", "kali", "neon", "devuan"),
    "RedHat": ("rhel", "centos", "fedora", "rocky", "almalinux", "ol", "amzn"),
    "Archlinux": ("arch", "manjaro"),
    "Suse": ("suse", "sles", "opensuse-leap", "opensuse-tumbleweed"),
    "Alpine": ("alpine",),
}
NAMES = {
    "ubuntu": "Ubuntu",
    "debian": "Debian",
    "linuxmint": "Linux Mint",
    "centos": "CentOS",
    "rhel": "RedHat",
    "fedora": "Fedora",
    "rocky": "Rocky",
    "almalinux": "AlmaLinux",
    "arch": "Archlinux",
    "alpine": "Alpine",
}
DMI = {
    "bios_date": "bios_date",
    "bios_vendor": "bios_vendor",
    "bios_version": "bios_version",
    "board_name": "board_name",
    "board_vendor": "board_vendor",
    "board_version": "board_version",
    "chassis_vendor": "chassis_vendor",
    "product_name": "product_name",
    "product_version": "product_version",
    "system_vendor": "sys_vendor",
}


def distribution(tree: Tree) -> dict[str, Any]:
    """distribution*, os_family and lsb, from os-release."""
    release = tree.settings("/etc/os-release") or tree.settings("/usr/lib/os-release")
    key = release.get("ID", "linux")
    like = [key, *release.get("ID_LIKE", "").split()]
    version = release.get("VERSION_ID", "")
    if key == "debian":
        point = tree.line("/etc/debian_version")
        version = point if re.fullmatch(r"[\d.]+", point) else version
    codename = release.get("VERSION_CODENAME", "")
    if not codename:
        match = re.search(r"\((\w+)", release.get("VERSION", ""))
        codename = match.group(1).lower() if match else "NA"
    name = NAMES.get(key, release.get("NAME", key))
    family = next(
        (family for word in like for family, members in FAMILIES.items() if word in members), name
    )
    major = version.split(".")[0]
    return {
        "distribution": name,
        "distribution_version": version,
        "distribution_major_version": major,
        "distribution_release": codename,
        "distribution_file_path": "/etc/os-release",
        "distribution_file_parsed": True,
        "os_family": family,
        "lsb": {
            "id": name,
            "release": release.get("VERSION_ID", ""),
            "major_release": major,
            "codename": codename,
            "description": release.get("PRETTY_NAME", ""),
        },
    }


def kernel(tree: Tree) -> dict[str, Any]:
    """kernel, architecture, host names, command line."""
    uname = os.uname()
    release = tree.line("/proc/sys/kernel/osrelease") or uname.release
    words = tree.line("/proc/cmdline").split()
    last: dict[str, Any] = {}
    every: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        last[name] = value if equals else True
        earlier = every.get(name)
        if earlier is None:
            every[name] = last[name]
        else:
            every[name] = [*(earlier if isinstance(earlier, list) else [earlier]), last[name]]
    node = tree.line("/proc/sys/kernel/hostname") or uname.nodename
    fqdn = full_name(tree, node)
    return {
        "system": uname.sysname,
        "kernel": release,
        "kernel_version": uname.version,
        "machine": uname.machine,
        "architecture": uname.machine,
        "userspace_architecture": uname.machine,
        "userspace_bits": str(struct.calcsize("P") * 8),
        "hostname": node.split(".")[0],
        "nodename": node,
        "fqdn": fqdn,
        "domain": fqdn.partition(".")[2],
        "cmdline": last,
        "proc_cmdline": every,
        "machine_id": tree.line("/etc/machine-id"),
    }


def full_name(tree: Tree, node: str) -> str:
    """Return the host's full name from /etc/hosts, without the DNS, which may take seconds."""
    if "." in node:
        return node
    for line in tree.lines("/etc/hosts"):
        names = line.split("#")[0].split()[1:]
        if node in names:
            return next((name for name in names if name.startswith(f"{node}.")), node)
    return node


def board(tree: Tree) -> dict[str, Any]:
    """Return the firmware's description of the board; "NA" for missing values, as Ansible does."""
    folder = "/sys/class/dmi/id"
    return {fact: tree.line(f"{folder}/{name}") or "NA" for fact, name in DMI.items()}


def managers(tree: Tree) -> dict[str, Any]:
    """pkg_mgr, service_mgr and virtualization."""
    package_managers = (
        ("apt", "/usr/bin/apt-get"),
        ("dnf", "/usr/bin/dnf"),
        ("pacman", "/usr/bin/pacman"),
    )
    comm = tree.line("/proc/1/comm")
    service = "systemd" if tree.exists("/run/systemd/system") or comm == "systemd" else comm
    return {
        "pkg_mgr": next((name for name, path in package_managers if tree.exists(path)), "unknown"),
        "service_mgr": service or "service",
        **virtualization(tree),
    }


def virtualization(tree: Tree) -> dict[str, str]:
    """Return whether this is a container or a virtual machine, and of which kind."""
    container = tree.line("/run/systemd/container")
    environment = tree.text("/proc/1/environ")
    match = re.search(r"(?:^|\0)container=(\w[\w.-]*)", environment)
    product = tree.line("/sys/class/dmi/id/product_name")
    vendor = tree.line("/sys/class/dmi/id/sys_vendor")
    guest = ""
    if tree.exists("/.dockerenv"):
        guest = "docker"
    elif container or match:
        guest = container or (match.group(1) if match else "container")
    elif vendor == "QEMU" or product in ("KVM", "KVM Server", "Standard PC (Q35 + ICH9, 2009)"):
        guest = "kvm"
    elif product.startswith("VMware"):
        guest = "VMware"
    elif product == "VirtualBox":
        guest = "virtualbox"
    elif product == "Virtual Machine" and vendor == "Microsoft Corporation":
        guest = "VirtualPC"
    elif re.search(r"^flags\s*:.*\bhypervisor\b", tree.text("/proc/cpuinfo"), re.MULTILINE):
        guest = "kvm"
    if guest:
        return {"virtualization_type": guest, "virtualization_role": "guest"}
    if tree.exists("/dev/kvm"):
        return {"virtualization_type": "kvm", "virtualization_role": "host"}
    return {"virtualization_type": "NA", "virtualization_role": "NA"}


def user() -> dict[str, Any]:
    """Who runs this, and the environment."""
    uid = os.getuid()
    facts: dict[str, Any] = {
        "user_uid": uid,
        "user_gid": os.getgid(),
        "effective_user_id": os.geteuid(),
        "effective_group_id": os.getegid(),
        "real_user_id": uid,
        "real_group_id": os.getgid(),
        "env": dict(os.environ),
    }
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return {**facts, "user_id": str(uid)}
    return {
        **facts,
        "user_id": entry.pw_name,
        "user_gecos": entry.pw_gecos,
        "user_dir": entry.pw_dir,
        "user_shell": entry.pw_shell,
    }


def python() -> dict[str, Any]:
    """Return the Python that runs this."""
    version = sys.version_info
    return {
        "python": {
            "version": {
                "major": version.major,
                "minor": version.minor,
                "micro": version.micro,
                "releaselevel": version.releaselevel,
                "serial": version.serial,
            },
            "version_info": list(version),
            "executable": sys.executable,
            "has_sslcontext": True,
            "type": sys.implementation.name,
        },
        "python_version": platform.python_version(),
    }


def clock(tree: Tree) -> dict[str, Any]:
    """date_time and uptime_seconds."""
    now = datetime.now().astimezone()
    utc = now.astimezone(timezone.utc)
    uptime = tree.line("/proc/uptime").split(" ")[0]
    return {
        "date_time": {
            "year": now.strftime("%Y"),
            "month": now.strftime("%m"),
            "day": now.strftime("%d"),
            "weekday": now.strftime("%A"),
            "weekday_number": now.strftime("%w"),
            "weeknumber": now.strftime("%W"),
            "hour": now.strftime("%H"),
            "minute": now.strftime("%M"),
            "second": now.strftime("%S"),
            "date": now.strftime("%Y-%m-%d"),
            "time": now.strftime("%H:%M:%S"),
            "epoch": str(int(now.timestamp())),
            "epoch_int": str(int(now.timestamp())),
            "iso8601": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "iso8601_micro": utc.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "iso8601_basic": now.strftime("%Y%m%dT%H%M%S%f"),
            "iso8601_basic_short": now.strftime("%Y%m%dT%H%M%S"),
            "tz": now.strftime("%Z"),
            "tz_dst": time.tzname[1],
            "tz_offset": now.strftime("%z"),
        },
        "uptime_seconds": int(float(uptime)) if uptime else 0,
    }
