"""A virtual environment of a rig, and what installs into it, for tests with the real uv and pip."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path


def write_wheel(folder: Path, name: str = "gear", version: str = "1.0") -> str:
    """Write a wheel with one module; return its line in a lock."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def write_index(folder: Path, wheels: Path) -> str:
    """Write a simple index of the wheels; return its URL."""
    for wheel in wheels.glob("*.whl"):
        page = folder / "simple" / wheel.name.split("-")[0] / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'<html><body><a href="{wheel.as_uri()}">{wheel.name}</a></body></html>\n')
    return (folder / "simple").as_uri()


@dataclass
class Environment:
    """A virtual environment without pip, its installer, and pip's settings."""

    folder: Path
    wheels: Path

    @property
    def uv(self) -> Path:
        """What the program takes for uv."""
        return self.folder / "uv/bin/uv"

    def set_pip(self, text: str) -> None:
        """Write pip's settings."""
        (self.folder / "pip.conf").write_text(text)

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the program with pip's words."""
        surroundings = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": str(self.folder / "pip.conf"),
            **variables,
        }
        command = [str(self.folder / "venv/bin/pip-by-uv"), *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=surroundings
        )

    def has(self, name: str, version: str) -> bool:
        """Return whether Python imports this version from the environment."""
        program = f"import {name}; print({name}.VERSION)"
        done = subprocess.run(
            [self.folder / "venv/bin/python", "-c", program],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout == f"{version}\n"

    def record(self) -> tuple[list[str], dict[str, str]]:
        """Return the words and the variables that the recorder got as uv."""
        words, _, variables = (self.folder / "record").read_text().partition("\n\n")
        pairs = (line.partition("=") for line in variables.splitlines())
        return words.splitlines(), {name: value for name, _, value in pairs}
