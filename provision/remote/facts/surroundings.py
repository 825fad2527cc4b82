"""What mining leaves around a miner: deleted logs, checks that are off, clocks that are set.

Each is {kind, name, evidence}; surroundings.json has the patterns. The name is the part of a line
that shows it, the unit or the script; the evidence is the file. `rewritten file`: a file of the
boot, the network or a login that a mining system rewrote; `link`: a unit that leads into the folder
of a mining system.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Iterable, Iterator

from provision.remote.distribution_files import is_essential
from provision.remote.facts.commands import (
    commands_of,
    files_named_in,
    scripts_of,
    unit_commands,
    unit_texts,
)
from provision.remote.facts.guards import OF_ADMINISTRATORS, OF_PACKAGES
from provision.remote.facts.mining_evidence import EvidenceRow, entry
from provision.remote.facts.start_places import (
    BOOT_FILES,
    CRON_FILES,
    UNIT_FOLDERS,
    login_paths,
    paths,
    unit_files,
)
from provision.remote.facts.tables import table
from provision.remote.facts.tree import Tree
from provision.remote.login_sessions import switch_off_sessions

GRUB_FILES = ("/etc/default/grub", "/etc/default/grub.d/*.cfg")
#: Files that the whole system reads at a login; a mining system may have written all of one.
LOGIN_SETTINGS = (
    *("/etc/profile", "/etc/bash.bashrc", "/etc/zsh/zprofile", "/etc/zsh/zshrc"),
    "/etc/profile.d/*.sh",
)
#: Files that a login or a new user reads, and that a mining system writes over.
SYSTEM_FILES = (
    *("/etc/pam.d/*", "/etc/update-motd.d/*", "/etc/skel/.*", "/etc/ssh/sshrc"),
    *("/etc/motd", "/etc/issue", "/etc/network/if-*.d/*", "/etc/networkd-dispatcher/*/*"),
    *("/etc/NetworkManager/dispatcher.d/*", "/etc/dhcp/dhclient-*-hooks.d/*"),
)
LOGIN_FILES_OF_USERS = (".profile", ".bash_profile", ".bash_login", ".bashrc", ".zprofile")
#: What starts a unit of the same name.
STARTERS = (".timer", ".path", ".socket")
SCRIPT_FOLDERS = re.compile(r"/etc/cron\.(hourly|daily|weekly|monthly)/")
VOLATILE = ("/dev/shm", "/run", "/tmp")  # nosec B108: read from links
#: deeprig's own files begin with it.
WRITTEN_BY = "# Written by deeprig"
#: On a rig that mined: where demine puts aside what it removes, and its mark while it runs.
TRACES = ("/var/backups/deeprig/removed", "/var/lib/deeprig/demining")
NAME_MOST = 200  # characters of a line that are shown


def surroundings(tree: Tree, folders: Iterable[str], mines: bool) -> list[EvidenceRow]:
    """Return what is around the miner, each once. folders: of the rig's mining system.

    mines: whether a miner or a mining system was found. What ordinary machines have as well gives a
    row only on a rig that mines or has mined.
    """
    lists = table("surroundings.json")
    folders = tuple(folders)
    commands = list(_commands(tree, folders))
    vendors = [*_links(tree), *_host_pins(tree, lists)]
    rows = [
        *_rewritten_files(tree, folders),
        *vendors,
        *_settings(tree, lists["lines"], usual=False),
        *_matches(commands, lists["commands"], usual=False),
    ]
    if mines or vendors or any(map(tree.exists, TRACES)):
        rows += [
            *_waiting_logins(tree),
            *_settings(tree, lists["lines"], usual=True),
            *_matches(commands, lists["commands"], usual=True),
            *_kernel_parameters(tree, re.compile(lists["kernel"])),
            *_journal_links(tree),
        ]
    unique = {(row["kind"], row["name"], row["evidence"]): row for row in rows}
    return list(unique.values())


def homes(tree: Tree) -> list[str]:
    """Return the homes of root and of those users who have one in /home."""
    fields = [line.split(":") for line in tree.lines("/etc/passwd")]
    named = {row[5].rstrip("/") for row in fields if len(row) == 7 and row[5].startswith("/home/")}
    return ["/root", *sorted(named | set(tree.glob("/home/*")))]


def _expand(tree: Tree, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        if pattern.startswith("~"):
            for home in homes(tree):
                yield from tree.glob(home + pattern[1:])
        else:
            yield from tree.glob(pattern)


def _raw_lines(tree: Tree, path: str) -> list[str]:
    """Return the lines that count, with the blanks before them: pip's values go on by these."""
    if not tree.is_file(path):
        return []
    lines = tree.text(path).splitlines()
    return [line for line in lines if not re.match(r"\s*(#|;|//|: #)", line)]


def _settings(tree: Tree, rows: list[dict[str, Any]], usual: bool) -> Iterator[EvidenceRow]:
    for row in rows:
        if row.get("usual", False) is not usual:
            continue
        pattern = re.compile(row["pattern"])
        for path in _expand(tree, row["files"]):
            for line in _raw_lines(tree, path):
                match = pattern.search(line)
                url = match.groupdict().get("url") if match else None
                if match and (url is None or is_foreign(url)):
                    yield entry(row["kind"], _without_login(match.group(0)), path)


def is_foreign(value: str) -> bool:
    """Return whether one of several registries or hosts is not what a careful owner would set.

    A public address, an unencrypted registry on the internet, or a public host without TLS checks.

    >>> [is_foreign(url) for url in ("http://203.0.113.40:4873/", "http://pypi.lan/simple")]
    [True, False]
    """
    return any(_is_foreign_word(word) for word in value.split())


def _is_foreign_word(word: str) -> bool:
    host = re.sub(r"^https?://([^/@]*@)?", "", word).partition("/")[0]
    return _is_public(host, unencrypted=not word.startswith("https:"))


def _is_public(host: str, unencrypted: bool) -> bool:
    name = re.sub(r":\d+$", "", host.strip("[]")).lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        is_named = "." in name and name.rpartition(".")[2] not in _private_domains()
        return unencrypted and (is_named or name == "*")
    return not (address.is_loopback or address.is_link_local or _is_of_a_home(address))


def _is_of_a_home(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is of a local network; documentation's count as public."""
    networks = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
    return any(address in ipaddress.ip_network(network) for network in networks)


def _private_domains() -> set[str]:
    return set(table("surroundings.json")["private_domains"])


def _without_login(text: str) -> str:
    """Return a setting without a user and password in its URL; the rest names the line."""
    return re.sub(r"://[^/@\s]*@.*", "://", text.strip())[:NAME_MOST]


@dataclass(frozen=True)
class CommandSource:
    """Where commands are. name: of the script or unit of them all; empty: each line counts.

    starters: the files of a unit's timer, path and socket.
    """

    path: str
    name: str
    texts: tuple[str, ...]
    starters: tuple[str, ...] = ()


def _commands(tree: Tree, folders: tuple[str, ...]) -> Iterator[CommandSource]:
    """Yield all commands that start by themselves, without those of the mining system's scripts."""
    places = (paths(tree, CRON_FILES), paths(tree, BOOT_FILES), login_paths(tree))
    for path in (path for group in places for path in group):
        lines = tuple(commands_of(tree, path))
        if SCRIPT_FOLDERS.match(path):  # a script: all of it is for this
            yield CommandSource(path, path.rpartition("/")[2], lines)
            continue
        yield CommandSource(path, "", lines)
        for file in files_named_in(tree, path):
            if not _is_in(file.path, folders):
                yield CommandSource(path, file.written, tuple(scripts_of(tree, [file])))
    for name, path in unit_files(tree):
        if not path.startswith(OF_ADMINISTRATORS) or not tree.is_file(path):
            continue
        # A link leads into a mining system, or to a unit of a package.
        if not tree.target(path) and not tree.text(path).startswith(WRITTEN_BY):
            texts = tuple(unit_texts(tree, path))
            stem = path[: -len(".service")]
            starters = (f"{stem}{suffix}" for suffix in STARTERS)
            yield CommandSource(path, name, texts, tuple(filter(tree.is_file, starters)))


def _matches(
    commands: list[CommandSource], rows: list[dict[str, Any]], usual: bool
) -> Iterator[EvidenceRow]:
    for row in rows:
        if row.get("usual", False) is not usual:
            continue
        pattern = re.compile(row["pattern"])
        for source in commands:
            matches = [match for text in source.texts if (match := pattern.search(text))]
            for match in matches[:1] if source.name else matches:
                name = source.name or match.group(0).strip()[:NAME_MOST]
                yield entry(row["kind"], name, source.path)
                for starter in source.starters:
                    yield entry(row["kind"], starter.rpartition("/")[2], starter)


def _is_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _kernel_parameters(tree: Tree, pattern: re.Pattern[str]) -> Iterator[EvidenceRow]:
    for path in paths(tree, GRUB_FILES):
        for line in tree.lines(path):
            for match in pattern.finditer(line):
                kind = "hugepages" if match.group(1).startswith("huge") else "mitigations off"
                yield entry(kind, match.group(1), path)


def _journal_links(tree: Tree) -> Iterator[EvidenceRow]:
    """Yield a folder of logs that is a link into memory."""
    for path in ("/var/log", "/var/log/journal"):
        target = tree.target(path)
        if any(target == place or target.startswith(f"{place}/") for place in VOLATILE):
            yield entry("volatile journal", target, path)


def _host_pins(tree: Tree, lists: dict[str, Any]) -> Iterator[EvidenceRow]:
    """Yield names of pools and vendors that /etc/hosts sends to another machine.

    Lists that block names lead to no machine (0.0.0.0, 127.0.0.1).
    """
    labels = re.compile(lists["pool_labels"], re.IGNORECASE)
    private = _private_domains()
    for line in tree.lines("/etc/hosts"):
        address, *names = re.sub(r"#.*", "", line).split() or [""]
        try:
            number = ipaddress.ip_address(address)
        except ValueError:
            continue
        if number.is_loopback or number.is_unspecified:
            continue
        for name in names:
            parts = name.lower().rstrip(".").split(".")
            is_vendors = any(labels.fullmatch(part) for part in parts) and "ntp" not in parts
            if is_vendors and len(parts) > 1 and parts[-1] not in private:
                yield entry("hosts pin", name, "/etc/hosts")


def _links(tree: Tree) -> Iterator[EvidenceRow]:
    """Yield units that are links into the folder of any mining system, whole or deleted."""
    folders = [
        folder for system in table("mining_os.json")["systems"] for folder in system["folders"]
    ]
    for folder in UNIT_FOLDERS:
        if folder == "/lib/systemd/system" and tree.target("/lib"):
            continue  # a merged /usr
        for name in tree.names(folder):
            target = tree.target(f"{folder}/{name}")
            if target.startswith("/") and _is_in(target, tuple(folders)):
                yield entry("link", target, f"{folder}/{name}")


def _waiting_logins(tree: Tree) -> Iterator[EvidenceRow]:
    """Yield login files of users that wait for a session, which never comes without a miner."""
    for path in (f"{home}/{name}" for home in homes(tree) for name in LOGIN_FILES_OF_USERS):
        if tree.is_file(path) and _waits(tree.text(path)):
            yield entry("rewritten file", "waits for a session", path)


def _waits(text: str) -> bool:
    return switch_off_sessions(text) != text


def _rewritten_files(tree: Tree, folders: tuple[str, ...]) -> Iterator[EvidenceRow]:
    """Yield files that the distribution has, too, and that serve a mining system now."""
    for path in paths(tree, LOGIN_SETTINGS):
        text = tree.text(path) if tree.is_file(path) else ""
        used = next((f for f in folders if _names(text, f)), "") if path in LOGIN_SETTINGS else ""
        if used or _waits(text):
            yield entry("rewritten file", used or "waits for a session", path)
    for path in paths(tree, SYSTEM_FILES):
        text = tree.text(path) if tree.is_file(path) else ""
        if used := next((f for f in folders if _names(text, f)), ""):
            yield entry("rewritten file", used, path)
    for _, path in unit_files(tree):
        if path.startswith(OF_PACKAGES) and is_essential(path) and not tree.target(path):
            commands = "\n".join(unit_commands(tree, path))
            used = next((f for f in folders if _names(commands, f)), "")
            if used or "--autologin" in commands:
                yield entry("rewritten file", used or "--autologin", path)


def _names(text: str, folder: str) -> bool:
    lines = "\n".join(line for line in text.splitlines() if not re.match(r"\s*(: )?#", line))
    return re.search(rf"(?<![\w.-]){re.escape(folder)}(?![\w.-])", lines) is not None
