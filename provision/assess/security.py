"""Who else can get in, and what runs by itself: the rig as it was found."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from provision.assess.finding import Finding, Status
from provision.boundary.facts import Evidence, Takeover
from provision.remote import dpkg
from provision.remote.facts import system
from provision.remote.facts.access import authorized_keys, key_files
from provision.remote.facts.package_sources import read_sources
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    login_paths,
    paths,
    unit_files,
)
from provision.remote.facts.tables import table
from provision.remote.facts.takeover import is_of_vendor
from provision.remote.facts.tree import Tree

SOCKET = re.compile(r'users:\(\("([^"]+)"')
SETTING = re.compile(r"([^\s=]+)[\s=]+(.*)")  # of sshd: blanks, tabs or an equals sign
INCLUDED = re.compile(r'Include\s+"?(?:/etc/ssh/)?sshd_config\.d/', re.IGNORECASE)
LINE_MOST = 120  # characters that are shown
TAKE_OUT = "If it is not yours, take it out: fab provision does for what it knows."


def find_security_signs(
    tree: Tree,
    access: Sequence[Evidence],
    sockets: str,
    connections: str,
    own_keys: Collection[str],
    taken_over: Takeover,
) -> list[Finding]:
    """Return all of them. access, taken_over: as the facts have them.

    sockets, connections: what `ss` listed. own_keys: the operator's public keys, base64.
    """
    lists = table("access.json")
    remote = {*lists["remote_control_of_mining_systems"], *lists["remote_control"]}
    return [
        *_ways_in(access, taken_over),
        *_recorded(taken_over),
        *_programs(tree, lists["remote_control"]),
        *_listening(sockets, remote),
        *_outward(connections),
        *_keys(tree, re.compile(lists["vendor_key_comment"], re.IGNORECASE), own_keys),
        *_users(tree),
        *_commands(tree, table("intruders.json")["commands"]),
        *_sshd(tree),
        *_preload(tree),
        *_repositories(tree),
    ]


def _ways_in(access: Sequence[Evidence], taken_over: Takeover) -> Iterator[Finding]:
    """Yield findings from facts: rights, lines that download and run, remote control."""
    names: Mapping[str, tuple[str, Status, str]] = {
        "sudo": ("sudo", "warning", "becomes root without a password"),
        "fetch": (
            "starts by itself",
            "critical",
            "runs what it downloads, or opens a shell to the network",
        ),
        "unit": ("remote control", "critical", "is started as a unit"),
        "process": ("remote control", "critical", "runs"),
    }
    places = {sign["evidence"] for sign in taken_over["signs"]}
    for entry in access:
        if entry["kind"] in names:
            check, status, reading = names[entry["kind"]]
            if entry["kind"] == "fetch" and entry["evidence"] not in places:
                status, reading = (
                    "warning",
                    "runs what it downloads from a mining system's vendor",
                )
            yield Finding(check, entry["evidence"], status, f"{entry['name']} {reading}", TAKE_OUT)


def _recorded(taken_over: Takeover) -> Iterator[Finding]:
    """Yield what an earlier run recorded; nothing that is done on the rig takes it away."""
    for sign in taken_over["recorded"]:
        yield Finding(
            "earlier takeover",
            sign["evidence"],
            "warning",
            f"before the conversion: {sign['name']}",
            "Another person had root access. Reinstall the rig before it holds data of value.",
        )


def _programs(tree: Tree, remote_control: Collection[str]) -> Iterator[Finding]:
    """Find remote control software; only the owner knows whose it is."""
    running = {tree.line(f"{folder}/comm") for folder in tree.processes()}
    for name in sorted(running & set(remote_control)):
        yield Finding(
            "remote control",
            name,
            "critical",
            "runs",
            "Stop it before the rig is on a network that others reach.",
        )


def _listening(sockets: str, remote_control: Collection[str]) -> Iterator[Finding]:
    seen = set()
    for line in sockets.splitlines():
        cells = line.split()
        if len(cells) < 5:
            continue
        address, _, port = cells[4].rpartition(":")
        match = SOCKET.search(line)
        who = match.group(1) if match else "a program"
        if who == "sshd" or _local(address) or (who, port) in seen:
            continue
        seen.add((who, port))
        worse = who in remote_control
        yield Finding(
            "listening ports",
            f"{cells[0]} {port}",
            "critical" if worse else "note",
            f"{who} listens on {address}",
            TAKE_OUT if worse else "",
        )


def _outward(connections: str) -> Iterator[Finding]:
    """Connections to addresses of the internet: pools, farms, and others."""
    seen = set()
    for line in connections.splitlines():
        cells = line.split()
        match = SOCKET.search(line)
        if len(cells) < 4 or match is None:
            continue
        address = cells[3].rpartition(":")[0].strip("[]")
        if _private(address) or (match.group(1), cells[3]) in seen:
            continue
        seen.add((match.group(1), cells[3]))
        yield Finding("connections", match.group(1), "note", f"is connected to {cells[3]}")


def _keys(tree: Tree, vendors: re.Pattern[str], own_keys: Collection[str]) -> Iterator[Finding]:
    for path in key_files(tree):
        for kind, key, comment in authorized_keys(tree.lines(path)):
            names = f"{kind} {fingerprint(key)} {comment}".strip()
            if key in own_keys:
                yield Finding("keys", path, "ok", f"yours: {names}")
            elif vendors.search(comment):
                yield Finding("keys", path, "critical", f"a vendor's: {names}", TAKE_OUT)
            else:
                yield Finding(
                    "keys",
                    path,
                    "warning",
                    f"not one of yours: {names}",
                    "Its holder can log in: find out whose it is, or remove it.",
                )


def fingerprint(blob: str) -> str:
    """Return a key's fingerprint as OpenSSH shows it; the key's own text where it is damaged."""
    try:
        digest = hashlib.sha256(base64.b64decode(blob, validate=True)).digest()
    except ValueError:
        return blob[:20]
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _users(tree: Tree) -> Iterator[Finding]:
    for line in tree.lines("/etc/passwd"):
        cells = line.split(":")
        if len(cells) >= 7 and cells[2] == "0" and cells[0] != "root":
            yield Finding(
                "users",
                cells[0],
                "critical",
                "is root by another name",
                "Take the user out; then look at everything else on this rig twice.",
            )


def _commands(tree: Tree, rows: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Lines of what starts by itself that should not do what they do.

    A settings file as its package has it is the distribution's: udev's init script writes to /tmp.
    """
    packages = dpkg.Database(tree.text("/var/lib/dpkg/status"))
    patterns = [(re.compile(row["pattern"]), row) for row in rows]
    units = [path for _, path in unit_files(tree) if path.startswith("/etc/")]
    files = {*paths(tree, CRON_FILES), *paths(tree, BOOT_FILES), *login_paths(tree), *units}
    for path in sorted(files):
        for line in tree.lines(path):
            row = next((row for pattern, row in patterns if pattern.search(line)), None)
            if row is not None and not is_of_vendor(line):
                if tree.digest(path) == (packages.conffile_digest(path) or None):
                    break
                status: Status = "critical" if row["status"] == "critical" else "warning"
                names = f"{row['reading']}: {line[:LINE_MOST]}"
                yield Finding("starts by itself", path, status, names, TAKE_OUT)


def _sshd(tree: Tree) -> Iterator[Finding]:
    """Return sshd's settings in order, of which the first counts, with included files in place."""
    settings: dict[str, str] = {}
    main = "/etc/ssh/sshd_config"
    included = any(INCLUDED.match(line) for line in tree.lines(main))
    folder = tree.glob("/etc/ssh/sshd_config.d/*.conf") if included else []
    for path in [*folder, main]:
        for line in tree.lines(path):
            name, value = SETTING.match(line + " ").groups()  # type: ignore[union-attr]
            if name.lower() == "match":
                break
            settings.setdefault(name.lower(), value.strip().strip('"').lower())
    if settings.get("passwordauthentication", "yes") != "no":
        yield Finding(
            "sshd",
            "passwords",
            "warning",
            "whoever knows or guesses a password logs in",
            "fab adopt lets keys in, and nothing else.",
        )
    if settings.get("permitrootlogin", "prohibit-password") == "yes":
        yield Finding("sshd", "root", "warning", "root may log in by a password", "fab adopt")
    if settings.get("permitemptypasswords", "no") == "yes":
        yield Finding("sshd", "empty passwords", "critical", "are let in", "fab adopt")


def _preload(tree: Tree) -> Iterator[Finding]:
    for line in tree.lines("/etc/ld.so.preload"):
        yield Finding(
            "ld.so.preload",
            line,
            "critical",
            "is loaded into every program",
            "This is how processes are hidden: reinstall the rig, and trust no file of it.",
        )


def _repositories(tree: Tree) -> Iterator[Finding]:
    """Others' packages over plain http, and packages of anyone without a signature."""
    codename = str(system.distribution(tree)["distribution_release"])
    for source in read_sources(tree):
        if not source.enabled:
            continue
        parts = [*source.uris, *source.suites, *source.components]
        entry = " ".join([*source.types, *parts])
        is_of_distribution = any(
            re.match(rf"{re.escape(codename)}\b", suite) for suite in source.suites
        )
        if source.options.get("trusted", "").lower() == "yes":
            yield Finding(
                "repositories",
                source.file,
                "critical",
                f"packages without a signature: {entry}",
                TAKE_OUT,
            )
        # The distribution's own archive signs its packages, and is mostly asked by http.
        elif any(uri.startswith("http://") for uri in source.uris) and not is_of_distribution:
            yield Finding(
                "repositories",
                source.file,
                "warning",
                f"another's, over plain http: {entry}",
                TAKE_OUT,
            )


def _local(address: str) -> bool:
    """Return whether only the rig itself reaches an address."""
    bare = address.strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return False


def _private(address: str) -> bool:
    """Return whether an address is of this rig's own network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return True
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return not parsed.is_global
