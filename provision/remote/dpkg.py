"""dpkg's database, read from its status file without starting a process.

The file is split once (about 10 ms for 2,000 packages); a package's fields are read when asked for.
A change by anyone shows in the file's inode, time and size, so what is kept is always right.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Iterable, Iterator, NamedTuple, TypedDict

from provision.remote.host import ModuleHost

ADMIN = "/var/lib/dpkg"
#: The status of a package with which nothing is wrong, and which nothing keeps at its version.
REGULAR = "\nStatus: install ok installed\n"


class Package(NamedTuple):
    """One package of one architecture, as dpkg knows it.

    want is what was selected (install, hold, deinstall, purge), state what is there (installed,
    config-files, half-configured ...). held is also true of a package that is kept back.
    """

    name: str
    version: str
    architecture: str
    want: str
    state: str
    provides: tuple[str, ...]
    fields: dict[str, str]

    @property
    def installed(self) -> bool:
        """Unpacked and configured."""
        return self.state == "installed"

    @property
    def present(self) -> bool:
        """There at all, were it half configured, but not only its configuration files."""
        return self.state not in ("not-installed", "config-files")

    @property
    def is_torn(self) -> bool:
        """Cut off while it was unpacked: dpkg only accepts it installed again."""
        return self.state == "half-installed" or self.needs_reinstallation

    @property
    def needs_reinstallation(self) -> bool:
        """Broken in a way that only its archive repairs (dpkg's flag reinst-required)."""
        return self.fields.get("Status", "").split(" ")[1:2] == ["reinstreq"]

    @property
    def held(self) -> bool:
        """Selected to stay at its version."""
        return self.want == "hold"


class Database:
    """Packages by name."""

    def __init__(self, text: str) -> None:
        self._stanzas: dict[str, list[str]] = {}
        self._providers: dict[str, list[str]] | None = None
        for stanza in text.split("\n\n"):
            start = 0 if stanza.startswith("Package: ") else stanza.find("\nPackage: ") + 1
            if stanza.startswith("Package: ", start):
                end = stanza.find("\n", start)
                name = stanza[start + 9 : end if end > 0 else None].strip()
                self._stanzas.setdefault(name, []).append(stanza)

    def names(self) -> list[str]:
        """Return every name in the database, whatever the package's state."""
        return list(self._stanzas)

    def find_irregular(self) -> Iterator[Package]:
        """Yield packages that are not simply installed: held, removed, unfinished."""
        for stanzas in self._stanzas.values():
            for stanza in stanzas:
                if REGULAR not in f"{stanza}\n":
                    yield _package(stanza)

    def is_conffile(self, path: str) -> bool:
        """Return whether a file is a package's settings."""
        line = f"\n {path} "
        return any(line in stanza for stanzas in self._stanzas.values() for stanza in stanzas)

    def conffile_digest(self, path: str) -> str:
        """Return the MD5 sum of a package's settings file as its package has it, or an empty text.

        A file that the package no longer has is left out.
        """
        pattern = re.compile(rf"^ {re.escape(path)} ([0-9a-f]{{32}})$", re.MULTILINE)
        for stanzas in self._stanzas.values():
            for stanza in stanzas:
                match = pattern.search(stanza) if path in stanza else None
                if match:
                    return match.group(1)
        return ""

    def find_all(self, name: str) -> list[Package]:
        """Return the packages of this name, one per architecture; `name:arch` picks one."""
        name, _, architecture = name.partition(":")
        packages = [_package(stanza) for stanza in self._stanzas.get(name, ())]
        if architecture and architecture != "any":
            packages = [
                package for package in packages if architecture in (package.architecture, "native")
            ]
        return packages

    def find(self, name: str) -> Package | None:
        """Return the package of this name that is most there, or None."""
        packages = self.find_all(name)
        return max(packages, key=lambda package: (package.installed, package.present), default=None)

    def find_installed(self, name: str) -> Package | None:
        """Return the package if it is installed and configured."""
        package = self.find(name)
        return package if package and package.installed else None

    def matching(self, pattern: str) -> Iterator[Package]:
        """Packages whose names match a shell pattern."""
        for name in fnmatch.filter(self._stanzas, pattern):
            yield from self.find_all(name)

    def providers(self, virtual: str) -> list[str]:
        """Return the installed packages that provide a name."""
        if self._providers is None:
            self._providers = {}
            for name in self._stanzas:
                for package in self.find_all(name):
                    for provided in package.provides if package.installed else ():
                        self._providers.setdefault(provided, []).append(name)
        return self._providers.get(virtual, [])


def database(host: ModuleHost) -> Database:
    """Return the packages as they are now; parsed again only when the status file changed."""
    kept = host.state(_kept_state)
    path = os.path.join(ADMIN, "status")
    try:
        info = os.stat(path)
    except OSError:
        return Database("")
    key = (path, info.st_ino, info.st_mtime_ns, info.st_size)
    if kept.get("key") != key:
        with open(path, encoding="utf-8", errors="replace") as stream:
            kept["database"] = Database(stream.read())
        kept["key"] = key
    packages: Database = kept["database"]
    return packages


def is_interrupted() -> bool:
    """Return whether dpkg was cut off: it left updates that `dpkg --configure -a` must finish."""
    try:
        return any(name.isdigit() for name in os.listdir(os.path.join(ADMIN, "updates")))
    except OSError:
        return False


def find_owner(path: str, patterns: Iterable[str] = ("*",), admin: str | None = None) -> str | None:
    """Return the package that has `path` in its list of files, or None.

    Only packages whose names match `patterns` are asked: reading every list takes 50 ms. A merged
    /usr makes /lib and /usr/lib one folder: either is found by the other.
    """
    info = os.path.join(admin or ADMIN, "info")
    other = path[len("/usr") :] if path.startswith("/usr/") else f"/usr{path}"
    wanted = [f"\n{name}\n".encode() for name in (path, other)]
    try:
        names = os.listdir(info)
    except OSError:
        return None
    for pattern in patterns:
        for name in fnmatch.filter(names, f"{pattern}.list"):
            with open(os.path.join(info, name), "rb") as stream:
                content = b"\n" + stream.read()
            if any(line in content for line in wanted):
                return name[: -len(".list")].partition(":")[0]
    return None


def compare(left: str, right: str) -> int:
    """Debian's order of versions: negative, zero or positive as left is older, same or newer."""
    for left_part, right_part in zip(_version_parts(left), _version_parts(right)):
        result = _compare_part(left_part, right_part)
        if result:
            return result
    return 0


def _version_parts(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if upstream else (epoch, rest, "0")


def _compare_part(left: str, right: str) -> int:
    pieces = re.compile(r"(\D*)(\d*)")
    while left or right:
        left_match, right_match = pieces.match(left), pieces.match(right)
        assert left_match
        assert right_match
        result = _compare_text(left_match.group(1), right_match.group(1))
        if result:
            return result
        result = int(left_match.group(2) or 0) - int(right_match.group(2) or 0)
        if result:
            return result
        left, right = left[left_match.end() :], right[right_match.end() :]
    return 0


def _compare_text(left: str, right: str) -> int:
    """~ sorts before the end, letters before the rest."""
    for index in range(max(len(left), len(right))):
        left_weight, right_weight = _weight(left, index), _weight(right, index)
        if left_weight != right_weight:
            return left_weight - right_weight
    return 0


def _weight(text: str, index: int) -> int:
    if index >= len(text):
        return 0
    letter = text[index]
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


class _Kept(TypedDict, total=False):
    #: The status file: path, inode, time of change in nanoseconds, size.
    key: tuple[str, int, int, int]
    database: Database


def _kept_state(host: ModuleHost) -> _Kept:
    return {}


def _package(stanza: str) -> Package:
    fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", stanza, re.MULTILINE))
    status = fields.get("Status", "").split()
    want, _, state = status if len(status) == 3 else ("unknown", "ok", "not-installed")
    provides = re.findall(r"(?:^|,)\s*([^\s,(:]+)", fields.get("Provides", ""))
    return Package(
        name=fields["Package"],
        version=fields.get("Version", ""),
        architecture=fields.get("Architecture", ""),
        want=want,
        state=state,
        provides=tuple(provides),
        fields=fields,
    )
