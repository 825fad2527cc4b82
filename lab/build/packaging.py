"""Debian packages and a signed, flat repository of them, made with dpkg-deb and gpg."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class Release:
    """What the Release file of a repository reports of its origin; apt pins by it."""

    origin: str
    label: str


@dataclass
class PackageRecipe:
    """A package before it is built: its control fields."""

    name: str
    version: str
    relations: dict[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """The name of the .deb file."""
        return f"{self.name}_{self.version}_{ARCHITECTURE}.deb"

    def control(self) -> str:
        """Return the control file."""
        rows = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": ARCHITECTURE,
            "Maintainer": "The lab's vendor <vendor@lab.example>",
            "Section": "non-free/kernel",
            "Priority": "optional",
            **self.relations,
            "Description": f"Replacement for {self.name}",
        }
        return "".join(f"{key}: {value}\n" for key, value in rows.items())


def build_deb(package: PackageRecipe, tree: Path, folder: Path) -> Path:
    """Build the .deb of a tree that may have maintainer scripts below DEBIAN."""
    control = tree / "DEBIAN"
    control.mkdir(parents=True, exist_ok=True)
    (control / "control").write_text(package.control())
    if any(tree.rglob("*.so.*")):
        with (control / "triggers").open("a") as triggers:
            triggers.write("activate-noawait ldconfig\n")
    configuration = [path for path in (tree / "etc").rglob("*") if path.is_file()]
    if configuration:
        names = "".join(f"/{path.relative_to(tree)}\n" for path in sorted(configuration))
        (control / "conffiles").write_text(names)
    target = folder / package.file_name
    return pack(tree, target)


def pack(tree: Path, target: Path) -> Path:
    """Build a .deb of a tree that has its control file already."""
    normalize(tree)
    _call(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", tree, target])
    return target


def normalize(tree: Path) -> None:
    """Give files the modes of a package, independent of the checkout's umask."""
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


class Key:
    """A signing key in its own gpg home, which is deleted when the repository is signed."""

    def __init__(self, owner: str, *, year: int | None = None, digest: str = "SHA512") -> None:
        """Make a key. year: in which it was made; it expired a year later. None: it does not.

        digest: of the signature by which the key binds its owner's name. sqv refuses SHA1.
        """
        self.home = tempfile.TemporaryDirectory(prefix="lab-key-")
        self.clock = [] if year is None else ["--faked-system-time", f"{year}0101T000000!"]
        made = ["--quick-gen-key", owner, "rsa2048", "sign", "1y" if year else "never"]
        self._gpg("--cert-digest-algo", digest, *made)
        listed = self._gpg("--with-colons", "--fingerprint")
        rows = (line.split(":") for line in listed.splitlines())
        self.fingerprint = next(row[9] for row in rows if row[0] == "fpr")

    def export(self) -> str:
        """Return the public key in ASCII armor."""
        return self._gpg("--armor", "--export")

    def sign(self, release: Path) -> None:
        """Sign a Release file both ways: InRelease, and Release.gpg beside it."""
        for name, how in (("InRelease", "--clearsign"), ("Release.gpg", "--detach-sign")):
            output = str(release.with_name(name))
            self._gpg("--armor", "--digest-algo", "SHA256", "--output", output, how, str(release))

    def close(self) -> None:
        """Delete the key."""
        subprocess.run(
            ["gpgconf", "--homedir", self.home.name, "--kill", "all"],
            check=False,
            capture_output=True,
        )
        self.home.cleanup()

    def _gpg(self, *arguments: str) -> str:
        options = ["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        return _call(["gpg", "--homedir", self.home.name, *self.clock, *options, *arguments])


def write_index(
    folder: Path,
    packages: Iterable[tuple[PackageRecipe, Path]],
    key: Key,
    origin: Release,
    date: str,
) -> None:
    """Write and sign the index of a flat repository; its packages lie in ./pool.

    date: as of RFC 5322. apt keeps the index it has when another one is of an older date.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for package, file in packages:
        data = file.read_bytes()
        blocks.append(
            f"{package.control()}Filename: ./pool/{file.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
    text = "\n".join(blocks).encode()
    files = {"Packages": text, "Packages.gz": gzip.compress(text, mtime=0)}
    rows = [
        f"Origin: {origin.origin}",
        f"Label: {origin.label}",
        f"Architectures: {ARCHITECTURE}",
        f"Date: {date}",
        "SHA256:",
    ]
    for name, data in files.items():
        (folder / name).write_bytes(data)
        rows.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}")
    release = folder / "Release"
    release.write_text("\n".join([*rows, ""]))
    key.sign(release)


def fill(tree: Path, source: Path, values: dict[str, str]) -> None:
    """Copy a tree of templates: @NAME@ in names, links and texts becomes the value."""

    def write_line(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"@{name.upper()}@", value)
        return text

    for path in sorted(source.rglob("*")):
        target = tree / write_line(str(path.relative_to(source)))
        if path.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(write_line(str(path.readlink())))
        elif path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(write_line(path.read_text()))
            shutil.copymode(path, target)


def _call(command: Sequence[str | Path]) -> str:
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")
    return done.stdout
