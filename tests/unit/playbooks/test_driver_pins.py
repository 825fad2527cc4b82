"""The driver's pins, as apt itself reads them: all packages of one driver, and of one origin."""

from __future__ import annotations

import hashlib
import subprocess
from email.utils import formatdate
from pathlib import Path

import pytest

from provision.inventory import yaml_source
from provision.inventory.yaml_source import YamlText
from tests.unit.playbooks.test_rig_variables import templar

ROOT = Path(__file__).parents[3]
#: As the repositories list them; the metapackage of an older branch has another revision than the
#: packages that it brings. Source: published scripts that install cuda-drivers=535.183.01-1 with
#: libnvidia-compute-535=535.183.01-0ubuntu1, and 580.126.20-1ubuntu1 from ubuntu2404.
VENDOR = {
    "cuda-drivers-535": ["535.183.01-1", "535.261.03-1"],
    "libnvidia-compute-535": ["535.183.01-0ubuntu1", "535.261.03-0ubuntu1"],
    "nvidia-firmware-535-535.183.01": ["535.183.01-0ubuntu1"],
    "nvidia-open-580": ["580.126.20-1ubuntu1"],
    "libnvidia-compute-580": ["580.126.20-1ubuntu1", "580.95.05-0ubuntu1"],
    "libnvidia-compute": ["590.48.01-0ubuntu1", "595.71.05-1ubuntu1"],
    "nvidia-modprobe": ["580.126.20-1ubuntu1", "595.71.05-1ubuntu1"],
    "libcuda1": ["580.126.20-1", "590.48.01-1"],
    "libnvidia-container1": ["1.18.1-1"],
    "nvidia-container-toolkit": ["1.18.1-1"],
    "nvidia-persistenced": ["580.126.20-1ubuntu1"],
    "dkms": ["1:3.3.0-1"],
}
DISTRIBUTION = {
    "libnvidia-compute-535": ["535.288.01-0ubuntu0.24.04.1"],
    "libnvidia-compute-580": ["580.142-0ubuntu0.24.04.1", "580.126.20-0ubuntu0.24.04.1"],
    "libcuda1": ["535.261.03-1~deb12u1"],
    "nvidia-persistenced": ["535.171.04-1~deb12u1"],
    "nvidia-container-toolkit": ["1.19.0-1"],
    "dkms": ["3.0.10-8+deb12u1"],
}


def write_repository(folder: Path, packages: dict[str, list[str]]) -> str:
    """Write a repository without signatures; return its line of sources.list."""
    folder.mkdir()
    rows = [
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\n"
        f"Filename: ./{name}.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: x\n"
        for name, versions in packages.items()
        for version in versions
    ]
    text = "\n".join(rows)
    (folder / "Packages").write_text(text)
    origin = "NVIDIA" if folder.name == "vendor" else "Debian"
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "Release").write_text(
        f"Origin: {origin}\nDate: {formatdate(0, usegmt=True)}\nSHA256:\n"
        f" {digest} {len(text)} Packages\n"
    )
    return f"deb [trusted=yes arch=amd64] file:{folder} ./\n"


class Apt:
    """apt with its own sources, lists and preferences."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "state/status").touch()
        places = {
            "Dir::Etc": "etc",
            "Dir::State": "state",
            "Dir::State::Status": "state/status",
            "Dir::Cache": "cache",
        }
        options = {name: str(folder / place) for name, place in places.items()}
        options |= {"APT::Architecture": "amd64", "APT::Sandbox::User": "", "Dir::Log": "/dev/null"}
        self.options = [f"-o{name}={value}" for name, value in options.items()]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [words[0], *self.options, *words[1:]], capture_output=True, text=True, check=True
        )
        return done.stdout

    def find_candidate(self, package: str) -> str:
        rows = self.run("apt-cache", "policy", package).splitlines()
        (row,) = [row for row in rows if "Candidate:" in row]
        return row.split()[1]


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> Apt:
    folder = tmp_path_factory.mktemp("apt")
    made = Apt(folder)
    lines = [
        write_repository(folder / name, packages)
        for name, packages in (("vendor", VENDOR), ("distribution", DISTRIBUTION))
    ]
    (folder / "etc/sources.list").write_text("".join(lines))
    made.run("apt-get", "-q", "update")
    return made


def pin(apt: Apt, version: str, source: str = "vendor") -> None:
    play = yaml_source.load_yaml(ROOT / "playbooks/driver.yml")[0]["vars"]
    values = templar(driver_version=version, nvidia_driver_source=source, **play)
    text = values.render(YamlText.given("{{ driver_pins_text }}"))
    (apt.folder / "etc/preferences.d/driver").write_text(text)


@pytest.mark.parametrize(
    ("version", "package", "candidate"),
    [
        ("535.183.01-1", "cuda-drivers-535", "535.183.01-1"),
        ("535.183.01-1", "libnvidia-compute-535", "535.183.01-0ubuntu1"),
        ("580.126.20-1ubuntu1", "libnvidia-compute-580", "580.126.20-1ubuntu1"),
        ("580.126.20-1ubuntu1", "nvidia-modprobe", "580.126.20-1ubuntu1"),
        # The distribution's of the same version, where it is the source.
        (
            "580.126.20-0ubuntu0.24.04.1",
            "libnvidia-compute-580",
            "580.126.20-0ubuntu0.24.04.1",
        ),
        ("580.126.20-1", "libcuda1", "580.126.20-1"),
        ("535.261.03-1~deb12u1", "libcuda1", "535.261.03-1~deb12u1"),
        ("590.48.01-0ubuntu1", "libnvidia-compute", "590.48.01-0ubuntu1"),
        # What has other versions is not touched.
        ("590.48.01-0ubuntu1", "nvidia-container-toolkit", "1.19.0-1"),
        ("590.48.01-0ubuntu1", "libnvidia-container1", "1.18.1-1"),
        ("580.126.20-1ubuntu1", "dkms", "1:3.3.0-1"),
    ],
)
def test_candidate_is_of_the_driver(apt: Apt, version: str, package: str, candidate: str) -> None:
    pin(apt, version)
    assert apt.find_candidate(package) == candidate


@pytest.mark.parametrize(
    ("package", "candidate"),
    [
        ("libcuda1", "535.261.03-1~deb12u1"),
        ("nvidia-persistenced", "535.171.04-1~deb12u1"),
        ("nvidia-modprobe", "(none)"),
        ("dkms", "3.0.10-8+deb12u1"),
        ("libnvidia-container1", "1.18.1-1"),
    ],
)
def test_nothing_of_the_vendors_is_beside_the_distributions_driver(
    apt: Apt, package: str, candidate: str
) -> None:
    pin(apt, "535.261.03-1~deb12u1", "distribution")
    assert apt.find_candidate(package) == candidate


def test_packages_of_other_revisions_are_held_too() -> None:
    play = yaml_source.load_yaml(ROOT / "playbooks/driver.yml")[0]["vars"]
    rows = {
        "cuda-drivers-535": "535.183.01-1",
        "libnvidia-compute-535": "535.183.01-0ubuntu1",
        "nvidia-persistenced": "535.171.04-1",
        "libnvidia-cfg1-535": None,
    }
    packages = [
        {"name": name, "version": version, "state": "installed", "origin": "vendor"}
        for name, version in rows.items()
    ]
    driver = {"package_versions": {}, "packages": packages, "alternatives": []}
    values = templar(driver=driver, driver_version="535.183.01-1", **play)
    held = values.render(YamlText.given("{{ packages_of_driver }}"))
    assert held == ["cuda-drivers-535", "libnvidia-compute-535"]
