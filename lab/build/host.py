"""The machine that runs the lab: its programs, and its package sources.

A rig uses the package sources of its machine, so nothing here names a mirror: the settings of apt
and pip are copied into the image.

`python -m lab.build.host [FILE]` prints the packages that the lab needs (or that the file lists)
and this machine does not have.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lab.errors import LabError
from lab.report import read_output

HERE = Path(__file__).parent
LISTS = Path("/var/lib/apt/lists")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
#: How this machine reaches its package sources; the rest of apt's settings are its own business.
APT_OPTION = re.compile(r"Acquire::(http|https|Check-|Retries|Force|Max-|Languages)")
SUPPORTED = {"debian": "bookworm", "ubuntu": ""}


@dataclass(frozen=True)
class Source:
    """A suite of packages that this machine installs from."""

    uri: str
    suite: str
    components: tuple[str, ...]

    def line(self) -> str:
        """Return it as a line of sources.list."""
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


def list_missing_packages(file: Path = HERE / "packages.txt") -> list[str]:
    """List the Debian packages that the lab needs (or that a file lists) and this machine lacks."""
    missing = []
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            package, program = line.split()
            is_installed = (
                Path(program).exists() if program.startswith("/") else find_program(program)
            )
            if not is_installed:
                missing.append(package)
    return missing


def find_program(program: str) -> str | None:
    """Find a program, also in the folders of root's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def find_free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def unusable() -> LabError | None:
    """Return why the lab cannot run on this machine, or None if it can."""
    if missing := list_missing_packages():
        return LabError(
            f"The lab needs packages that this machine lacks: {' '.join(missing)}.",
            f"Run: apt-get install --no-install-recommends {' '.join(missing)}",
        )
    if os.geteuid() != 0:
        return LabError("The lab boots containers, which needs root.", "Run it with sudo.")
    if not _has_overlayfs():
        return LabError("This kernel has no overlayfs.", "Try: modprobe overlay")
    try:
        read_codename()
    except LabError as error:
        return error
    return None


def _has_overlayfs() -> bool:
    """Return whether the kernel has overlayfs; loads its module if needed."""
    filesystems = Path("/proc/filesystems")
    if "overlay" not in filesystems.read_text() and (modprobe := find_program("modprobe")):
        subprocess.run([modprobe, "overlay"], capture_output=True, check=False)
    return "overlay" in filesystems.read_text()


def read_release() -> dict[str, str]:
    """Return /etc/os-release of this machine."""
    text = Path("/etc/os-release").read_text()
    return dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))


def read_codename() -> str:
    """Return the codename of this machine's distribution, which is also the rigs'."""
    release = read_release()
    name, code = release.get("ID", ""), release.get("VERSION_CODENAME", "")
    if name not in SUPPORTED or (SUPPORTED[name] and SUPPORTED[name] != code):
        raise LabError(
            f"A lab rig is built from its machine's own packages, and this machine is "
            f"{release.get('PRETTY_NAME', 'unknown')}.",
            "Run the lab on Debian 12 (bookworm) or on Ubuntu, or in a virtual machine with one.",
        )
    return code


@functools.cache
def list_sources() -> list[Source]:
    """Return apt's sources of this machine's distribution."""
    code = read_codename()
    listed = read_output(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
        "Created-By: Packages",
    )
    components: dict[tuple[str, str], list[str]] = {}
    for line in listed.splitlines():
        uri, suite, component = line.split("|")
        if suite.partition("-")[0] == code and component:
            components.setdefault((uri, suite), []).append(component)
    if not any(suite == code for _, suite in components):
        raise LabError(
            f"apt has no package index of {code} on this machine.",
            "Check /etc/apt/sources.list*, then run: apt-get update",
        )
    return [Source(uri, suite, tuple(parts)) for (uri, suite), parts in components.items()]


def list_keyrings() -> list[Path]:
    """List the keys by which this machine trusts its package sources."""
    files = [file for path in SOURCES for file in (path.glob("*.*") if path.is_dir() else [path])]
    listed: set[Path] = set()
    for file in files:
        if file.is_file():
            keys = re.findall(r"(?i)signed-by[:=]\s*(/[^\s\],]+)", file.read_text())
            listed.update(Path(key) for key in keys)
    trusted = Path("/etc/apt/trusted.gpg.d").glob("*.*")
    return sorted(key for key in (*listed, *trusted) if key.is_file())


def read_apt_options() -> str:
    """Return apt's settings for reaching the package sources."""
    lines = read_output("apt-config", "dump").splitlines()
    options = [line for line in lines if APT_OPTION.match(line) and not line.endswith('"";')]
    for scheme in ("http", "https"):
        if proxy := os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY"):
            options.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in options)


def read_rig_apt_options() -> str:
    """Return apt's settings for a rig: with its check of dates, if the sources' dates allow it."""
    lines = read_apt_options().splitlines(keepends=True)
    if are_dates_valid(LISTS, time.time()):
        lines = [line for line in lines if not line.startswith("Acquire::Check-")]
    return "".join(lines)


def are_dates_valid(lists: Path, now: float) -> bool:
    """Return whether apt would accept the dates of all Release files. now: seconds since 1970."""
    dates = [
        (key, parsedate_to_datetime(value).timestamp())
        for file in lists.glob("*InRelease")
        for key, value in re.findall(r"(?m)^(Date|Valid-Until): (.*)$", file.read_text())
    ]
    return bool(dates) and all(date <= now if key == "Date" else date > now for key, date in dates)


@functools.cache
def read_pip_options() -> dict[str, str]:
    """Return pip's settings here (files and environment), as a pip.conf would hold them."""
    pip = find_program("pip3") or find_program("pip")
    if pip is None:
        return {}
    options: dict[str, str] = {}
    for line in read_output(pip, "config", "list").splitlines():
        key, _, value = line.partition("=")
        # `global.cert='…'` from a file, `:env:.cert='…'` from the environment, which comes last.
        if key.startswith(("global.", ":env:.")):
            options[key.rpartition(".")[2]] = value.strip("'\"").replace("\\n", "\n").strip()
    options.pop("require-virtualenv", None)
    if "cert" in options:
        options["cert"] = str(BUNDLE)
    return options


def list_local_folders(options: dict[str, str], package_sources: Iterable[Source]) -> list[Path]:
    """List the folders and files of this machine that its package settings name.

    >>> list_local_folders({"find-links": "/srv/wheels https://example.org/x"}, [])
    [PosixPath('/srv/wheels')]
    """
    words = [source.uri for source in package_sources]
    for key in ("find-links", "index-url", "extra-index-url", "constraint"):
        words += options.get(key, "").split()
    folders: list[Path] = []
    for word in words:
        path = unquote(urlsplit(word).path) if word.startswith("file:") else word
        if not path.startswith("/"):
            continue
        folder = Path(path)
        # A simple index names its files by relative links: ../../files/…, beside the index.
        folders.append(folder.parent if folder.name == "simple" else folder)
    return sorted(set(folders))


def read_certificates() -> str:
    """Return the certificates that this machine trusts, in one text."""
    names = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    for candidate in (*(os.environ.get(name, "") for name in names), str(BUNDLE)):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_text()
    return ""


def has_torch_build(requirement: str) -> bool:
    """Return whether pip on this machine finds a CPU build of torch without another index."""
    name, _, version = requirement.partition("==")
    for word in read_pip_options().get("find-links", "").split():
        folder = Path(unquote(urlsplit(word).path))
        if folder.is_dir() and any(folder.glob(f"{name}-{version}+cpu-*.whl")):
            return True
    return False


if __name__ == "__main__":
    print(" ".join(list_missing_packages(*map(Path, sys.argv[1:]))))
