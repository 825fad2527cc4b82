"""Ansible's facts on the network, from sysfs, /proc and one netlink question; no process."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any, Iterator, NamedTuple

from provision.remote.facts.tree import Tree

RTM_NEWADDR, RTM_GETADDR = 20, 22
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x301
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST = 1, 2, 4
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}


class Address(NamedTuple):
    """One address of an interface."""

    interface: str
    address: str
    prefix: int
    scope: str
    broadcast: str

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


def addresses() -> list[Address]:
    """Return every address of this host, asked of the kernel."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
            kernel.settimeout(1)
            kernel.bind((0, 0))
            request = struct.pack("=LHHLLB3x", 20, RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0, 0)
            kernel.send(request)
            return list(_answers(kernel))
    except OSError:
        return []


def _answers(kernel: socket.socket) -> Iterator[Address]:
    while True:
        data = kernel.recv(1 << 16)
        while len(data) >= 16:
            length, kind = struct.unpack_from("=LH", data)
            if kind in (NLMSG_DONE, NLMSG_ERROR) or length < 16:
                return
            if kind == RTM_NEWADDR:
                address = parse_address(data[16:length])
                if address:
                    yield address
            data = data[(length + 3) & ~3 :]


def parse_address(message: bytes) -> Address | None:
    """Return one RTM_NEWADDR message, without its header."""
    family, prefix, _, scope, index = struct.unpack_from("=BBBBL", message)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes: dict[int, bytes] = {}
    rest = message[8:]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        if length < 4:
            break
        attributes[kind] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    value = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS)
    if not value:
        return None
    broadcast = attributes.get(IFA_BROADCAST)
    return Address(
        interface=socket.if_indextoname(index),
        address=str(ipaddress.ip_address(value)),
        prefix=prefix,
        scope=SCOPES.get(scope, str(scope)),
        broadcast=str(ipaddress.ip_address(broadcast)) if broadcast else "",
    )


def default_routes(tree: Tree) -> dict[int, tuple[str, str]]:
    """Return the interface and gateway of the default route, by IP version."""
    routes: dict[int, tuple[str, str]] = {}
    best: dict[int, int] = {}
    for line in tree.text("/proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000":
            gateway = socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
            metric = int(fields[6])
            if metric < best.get(4, 1 << 40):
                routes[4], best[4] = (fields[0], gateway), metric
    for line in tree.text("/proc/net/ipv6_route").splitlines():
        fields = line.split()
        if len(fields) > 9 and fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
            metric = int(fields[5], 16)
            if metric < best.get(6, 1 << 31):
                gateway = str(ipaddress.ip_address(bytes.fromhex(fields[4])))
                routes[6], best[6] = (fields[9], gateway), metric
    return routes


def network(tree: Tree, assigned_addresses: list[Address]) -> dict[str, Any]:
    """interfaces, a fact for each, all addresses, and the default ones."""
    names = tree.names("/sys/class/net")
    facts: dict[str, Any] = {"interfaces": names}
    for name in names:
        facts[name.replace("-", "_").replace(".", "_").replace(":", "_")] = interface(
            tree, name, [address for address in assigned_addresses if address.interface == name]
        )
    outside = [
        address
        for address in assigned_addresses
        if not address.address.startswith("127.") and address.address != "::1"
    ]
    facts["all_ipv4_addresses"] = [address.address for address in outside if address.version == 4]
    facts["all_ipv6_addresses"] = [address.address for address in outside if address.version == 6]
    routes = default_routes(tree)
    for version in (4, 6):
        facts[f"default_ipv{version}"] = _default(tree, version, routes.get(version), outside)
    facts["dns"] = resolver(tree)
    return facts


def interface(tree: Tree, name: str, assigned_addresses: list[Address]) -> dict[str, Any]:
    """Return one interface as Ansible shows it."""
    folder = f"/sys/class/net/{name}"
    speed = tree.line(f"{folder}/speed")
    fact: dict[str, Any] = {
        "device": name,
        "active": tree.line(f"{folder}/operstate") in ("up", "unknown"),
        "mtu": int(tree.line(f"{folder}/mtu") or 0),
        "type": "loopback" if name == "lo" else kind(tree, folder),
    }
    mac = tree.line(f"{folder}/address")
    if mac and mac != "00:00:00:00:00:00":
        fact["macaddress"] = mac
    if speed.isdigit():
        fact["speed"] = int(speed)
    if tree.exists(f"{folder}/device/driver"):
        fact["module"] = tree.link(f"{folder}/device/driver")
    for address in assigned_addresses:
        if address.version == 6:
            entry = {
                field: str(value)
                for field, value in address._asdict().items()
                if field in ("address", "scope")
            }
            fact.setdefault("ipv6", []).append({**entry, "prefix": str(address.prefix)})
        elif "ipv4" in fact:
            fact.setdefault("ipv4_secondaries", []).append(_ipv4(address))
        else:
            fact["ipv4"] = _ipv4(address)
    return fact


def kind(tree: Tree, folder: str) -> str:
    """bridge, bonding or ether."""
    if tree.exists(f"{folder}/bridge"):
        return "bridge"
    return "bonding" if tree.exists(f"{folder}/bonding") else "ether"


def resolver(tree: Tree) -> dict[str, Any]:
    """dns: name servers and search domains."""
    settings: dict[str, Any] = {}
    for line in tree.lines("/etc/resolv.conf"):
        words = line.split()
        if words[0] == "nameserver" and len(words) > 1:
            settings.setdefault("nameservers", []).append(words[1])
        elif words[0] in ("search", "domain"):
            settings[words[0]] = words[1:] if words[0] == "search" else words[1]
    return settings


def _ipv4(address: Address) -> dict[str, str]:
    block = ipaddress.ip_interface(f"{address.address}/{address.prefix}").network
    return {
        "address": address.address,
        "broadcast": address.broadcast,
        "netmask": str(block.netmask),
        "network": str(block.network_address),
        "prefix": str(address.prefix),
    }


def _default(
    tree: Tree, version: int, route: tuple[str, str] | None, assigned_addresses: list[Address]
) -> dict[str, Any]:
    if not route:
        return {}
    name, gateway = route
    fact: dict[str, Any] = {"interface": name, "gateway": gateway}
    usable = [
        address
        for address in assigned_addresses
        if address.interface == name and address.version == version and address.scope != "link"
    ]
    if usable:
        fact.update(_ipv4(usable[0]) if version == 4 else {"address": usable[0].address})
        fact["prefix"] = str(usable[0].prefix)
    folder = f"/sys/class/net/{name}"
    fact["macaddress"] = tree.line(f"{folder}/address")
    fact["mtu"] = int(tree.line(f"{folder}/mtu") or 0)
    fact["type"] = kind(tree, folder)
    fact["alias"] = name
    return fact
