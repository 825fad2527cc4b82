"""Programs for tests and benchmarks, unpacked from Debian's packages and not installed.

An installed Prometheus would start a server on this machine.

`python -m lab.build.tools PACKAGE…` fetches the packages that are missing.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.build import image
from lab.errors import LabError
from lab.report import step

#: Program -> the package that it is in.
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-node-exporter": "prometheus-node-exporter",
}


def find(program: str) -> str | None:
    """Return the path of a program, installed or unpacked, or None."""
    unpacked = folder(PACKAGES.get(program, program)) / "usr/bin" / program
    return shutil.which(program) or (str(unpacked) if unpacked.exists() else None)


def fetch(package: str) -> None:
    """Download and unpack a package without its dependencies. Raises LabError."""
    target = folder(package)
    programs = [name for name, its in PACKAGES.items() if its == package]
    if target.is_dir() or (programs and all(find(name) for name in programs)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with step(f"Fetching {package}"), tempfile.TemporaryDirectory(dir=target.parent) as work:
        _run(["apt-get", "download", "-q", package], work)
        archives = list(Path(work).glob("*.deb"))
        _run(["dpkg-deb", "-x", archives[0].name, "files"], work)
        try:
            Path(work, "files").rename(target)
        except OSError as error:  # another process has fetched it meanwhile
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def folder(package: str) -> Path:
    """Return the folder in which a package is unpacked."""
    return image.cache().parent / "tools" / package


def _run(command: list[str], where: str) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(
            f"`{' '.join(command)}` failed: {done.stderr.strip()}", "Try: apt-get update"
        )


def main() -> int:
    """Fetch the packages of the command line; return 0 if all are here."""
    try:
        for package in sys.argv[1:]:
            fetch(package)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
