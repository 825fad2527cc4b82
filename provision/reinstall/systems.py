"""The systems that a rig can get (playbooks/vars/reinstall.yml), and where their packages are."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from provision.errors import DeeprigError, SourceError
from provision.inventory import yaml_source
from provision.paths import PLAYBOOKS

TABLE = PLAYBOOKS / "vars" / "reinstall.yml"
DEFAULT = "debian13"
INDEX_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
#: Suites beside a release's own: updates, and what security teams publish.
FURTHER_SUITES = ("-updates", "-security")


@dataclass(frozen=True)
class System:
    """A row of the table. key: its name on the command line."""

    key: str
    name: str
    distribution: str
    suite: str
    components: tuple[str, ...]
    keyring: Path
    packages: tuple[str, ...]


@cache
def load_systems() -> Mapping[str, System]:
    """Return the table, by key."""
    table = yaml_source.load_yaml(TABLE)
    return {
        str(key): System(
            str(key),
            str(row["name"]),
            str(row["distribution"]),
            str(row["suite"]),
            tuple(map(str, row["components"])),
            Path(str(row["keyring"])),
            (
                str(row["kernel"]),
                *map(str, table["reinstall_packages"]),
                *map(str, row["packages"]),
            ),
        )
        for key, row in table["reinstall_systems"].items()
    }


def find_system(key: str) -> System:
    """Return a system by its key. Raises SourceError."""
    systems = load_systems()
    if key not in systems:
        raise SourceError(
            f"the system '{key}' can't be installed", advice=f"Choose one of: {', '.join(systems)}."
        )
    return systems[key]


def list_sources(system: System, mirror: str = "") -> list[str]:
    """Return lines of sources.list for a system.

    mirror: of the distribution's archive; "" for what this machine itself installs from, with the
    names of other suites, if it has that distribution. Raises DeeprigError.
    """
    if mirror:
        line = f"deb {mirror} {{}} {' '.join(system.components)}"
        return [line.format(system.suite + part) for part in ("", "-updates")]
    release = _read_release()
    if release.get("ID") != system.distribution:
        raise DeeprigError(
            f"this machine has no package sources of {system.name}",
            advice="Name a mirror of its archive: -e reinstall_mirror=URL.",
        )
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return rename_sources(listed.splitlines(), release.get("VERSION_CODENAME", ""), system)


def rename_sources(listed: Sequence[str], codename: str, system: System) -> list[str]:
    """Return sources of a system, in the places where those of this machine's release are.

    listed: URI|SUITE|COMPONENT of each index. Raises DeeprigError where the release has none.

    >>> rename_sources(["http://x/debian/|bookworm|main"], "bookworm", find_system("debian13"))
    ['deb http://x/debian/ trixie main contrib non-free non-free-firmware']
    """
    places: list[tuple[str, str]] = []
    for line in listed:
        uri, suite, component = line.split("|")
        if suite.partition("-")[0] == codename and component:
            further = suite.removeprefix(codename)
            if further in ("", *FURTHER_SUITES):
                places.append((uri, further))
    if not any(further == "" for _, further in places):
        raise DeeprigError(
            f"apt has no package index of {codename or 'its release'} on this machine",
            advice="Run apt-get update, or name a mirror: -e reinstall_mirror=URL.",
        )
    components = " ".join(system.components)
    return [
        f"deb {uri} {system.suite}{further} {components}" for uri, further in dict.fromkeys(places)
    ]


def _read_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:  # not Linux
        return {}
