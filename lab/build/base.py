"""The release of a distribution that rigs run: their machine's, or another one of it.

Another release comes from the machine's own package sources, in which only the suites have other
names: no source is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build import host
from lab.build.host import Source
from lab.errors import LabError
from lab.report import run

PACKAGES = (
    *("systemd-sysv", "udev", "dbus", "kmod", "procps", "psmisc", "iproute2", "pciutils"),
    *("openssh-server", "sudo", "cron", "logrotate", "screen", "tmux", "less", "python3"),
    *("gnupg", "ca-certificates", "curl"),
)
#: Releases whose apt checks signatures by sqv: GnuPG is not on a new system. Their installers write
#: package sources as stanzas.
WITH_SQV = ("trixie",)
ARCHIVE_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class BaseSystem:
    """A release by its codename, with the sources of its packages."""

    codename: str
    sources: tuple[Source, ...]

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed on a new system, and what rigs are reached by."""
        absent = {"gnupg"} if self.codename in WITH_SQV else set()
        return tuple(name for name in PACKAGES if name not in absent)

    def lines(self) -> str:
        """Return its sources as lines of sources.list."""
        return "".join(f"{source.line()}\n" for source in self.sources)

    def build(self, target: Path, log: Path) -> None:
        """Install the system into a folder."""
        bootstrap(self, target, self.packages, "minbase", log)
        if self.codename in WITH_SQV:
            folder = target / "etc/apt/sources.list.d"
            for file in folder.glob("*.list"):  # as mmdebstrap writes it
                file.unlink()
            (folder / "debian.sources").write_text(self._stanzas(target))

    def _stanzas(self, root: Path) -> str:
        keys = ""
        if (root / ARCHIVE_KEYS.lstrip("/")).exists() and Path(
            ARCHIVE_KEYS
        ) in host.list_keyrings():
            keys = f"Signed-By: {ARCHIVE_KEYS}\n"
        suites: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for source in self.sources:
            suites.setdefault((source.uri, source.components), []).append(source.suite)
        return "\n".join(
            f"Types: deb\nURIs: {uri}\nSuites: {' '.join(names)}\n"
            f"Components: {' '.join(components)}\n{keys}"
            for (uri, components), names in suites.items()
        )


def find(codename: str = "") -> BaseSystem:
    """Return the release of that name, or the machine's.

    Raises LabError where the machine's distribution does not have it.
    """
    machines = host.read_codename()
    if codename and codename != machines and host.read_release().get("ID") != "debian":
        raise LabError(
            f"Rigs with Debian's {codename} are built from Debian's package sources, which this "
            "machine does not have.",
            "Run them on a machine with Debian, or choose another flavour.",
        )
    return BaseSystem(
        codename or machines,
        tuple(
            Source(source.uri, rename_suite(source.suite, machines, codename), source.components)
            for source in host.list_sources()
        ),
    )


def rename_suite(suite: str, machines: str, codename: str) -> str:
    """Return the suite of a release that has the place of one of the machine's.

    >>> rename_suite("bookworm-security", "bookworm", "trixie")
    'trixie-security'
    """
    return (codename or machines) + suite.removeprefix(machines)


def bootstrap(
    base: BaseSystem, target: Path, packages: Sequence[str], variant: str, log: Path
) -> None:
    """Install packages of a release into a folder, with mmdebstrap's `variant`."""
    source = target.with_suffix(".list")
    source.write_text(base.lines())
    settings = [f"--aptopt={line}" for line in host.read_apt_options().splitlines()]
    rings = [f"--keyring={ring}" for ring in (*host.list_keyrings(), "/etc/apt/trusted.gpg.d")]
    run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            f"--variant={variant}",
            *settings,
            *rings,
            f"--include={','.join(packages)}",
            "--skip=cleanup/apt/lists",
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            base.codename,
            target,
            source,
        ],
        log,
        "Building a system with mmdebstrap",
    )
    source.unlink()
