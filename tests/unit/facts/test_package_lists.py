"""Which lists are there and complete, and how old they are: also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from provision.remote.facts.package_lists import FOLDER, STAMP, find_age, read_lists
from provision.remote.facts.package_sources import read_sources
from provision.remote.facts.tree import Tree
from tests.unit.modules.rig import create_files

NOW = 1_900_000_000.0
HOUR = 3600
LISTS = FOLDER[1:]
DEBIAN = f"{LISTS}/deb.example_debian_dists_bookworm_"
VENDOR = f"{LISTS}/gpu.example_repos_debian12_"
PACKAGES = "Package: bash\nVersion: 5\n"
HASH = "0" * 64


class TreeAt(Tree):
    """A tree with a clock that does not move."""

    def now(self) -> float:
        return NOW


def release(**sizes: int) -> str:
    rows = "".join(f" {HASH} {size:16d} {name}\n" for name, size in sizes.items())
    return f"Origin: Debian\nMD5Sum:\n {'0' * 32} 7 other/Packages\nSHA256:\n{rows}"


def aged(content: str, hours: float = 2.0) -> dict[str, Any]:
    return {"content": content, "mtime": NOW - hours * HOUR}


def files() -> dict[str, Any]:
    """Return a rig with the distribution's repository and a flat one, both fetched."""
    return {
        "etc/apt/sources.list": "deb http://deb.example/debian bookworm main non-free\n"
        "deb cdrom:[Debian 12]/ bookworm main\n",
        "etc/apt/sources.list.d/gpu.sources": "Types: deb\n"
        "URIs: https://gpu.example/repos/debian12/\nSuites: /\n",
        f"{DEBIAN}InRelease": aged(
            release(
                **{
                    "main/binary-amd64/Packages": len(PACKAGES),
                    "main/binary-amd64/Packages.xz": 9,
                    "non-free/binary-amd64/Packages": 0,
                }
            ),
            2000,
        ),
        f"{DEBIAN}main_binary-amd64_Packages": aged(PACKAGES, 2000),
        f"{VENDOR}InRelease": aged(release(**{"./Packages": len(PACKAGES)}), 30),
        f"{VENDOR}Packages": aged(PACKAGES, 30),
    }


def age(root: Path, changes: dict[str, Any], *gone: str) -> float | None:
    present = {name: value for name, value in {**files(), **changes}.items() if name not in gone}
    create_files(root, present)
    os.utime(root / LISTS, (NOW, NOW)) if (root / LISTS).is_dir() else (root / LISTS).mkdir(
        parents=True
    )
    tree = TreeAt(str(root))
    return find_age(tree, read_lists(tree, read_sources(tree), "amd64"))


def test_lists_are_as_old_as_the_newest(tmp_path: Path) -> None:
    assert age(tmp_path, {}) == 30 * HOUR


def test_lists_are_as_old_as_the_last_update(tmp_path: Path) -> None:
    assert age(tmp_path, {STAMP[1:]: aged("", 1)}) == HOUR


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        pytest.param({}, tuple(name for name in files() if name.startswith(LISTS)), id="no list"),
        pytest.param({}, (f"{DEBIAN}InRelease",), id="no release file"),
        pytest.param({}, (f"{DEBIAN}main_binary-amd64_Packages",), id="no index"),
        pytest.param({f"{DEBIAN}InRelease": aged("")}, (), id="empty release file"),
        pytest.param({f"{DEBIAN}main_binary-amd64_Packages": aged("")}, (), id="empty index"),
        pytest.param({f"{VENDOR}Packages": aged(PACKAGES[:-5])}, (), id="index cut off"),
        pytest.param(
            {f"{VENDOR}InRelease": aged(release(**{"Packages.gz": 20}))},
            (f"{VENDOR}Packages",),
            id="no index, of which only the compressed size is known",
        ),
        pytest.param(
            {"etc/apt/sources.list.d/new.list": "deb http://new.example x main\n"},
            (),
            id="new source",
        ),
        pytest.param({STAMP[1:]: {"content": "", "mtime": NOW + HOUR}}, (), id="clock was ahead"),
        pytest.param({}, ("etc/apt/sources.list", "etc/apt/sources.list.d/gpu.sources"), id="none"),
    ],
)
def test_lists_that_must_be_fetched_again(
    tmp_path: Path, changes: dict[str, Any], gone: tuple[str, ...]
) -> None:
    # The folder has today's date, and so has the stamp.
    assert age(tmp_path, {STAMP[1:]: aged("", 1), **changes}, *gone) is None


def test_compressed_lists_count(tmp_path: Path) -> None:
    index = f"{DEBIAN}main_binary-amd64_Packages"
    assert age(tmp_path, {f"{index}.lz4": aged("compressed")}, index) == 30 * HOUR


def test_lists_of_a_source_that_is_off_are_not_needed(tmp_path: Path) -> None:
    off = "Types: deb\nURIs: http://dead.example\nSuites: /\nEnabled: no\n"
    sources = "deb-src http://src.example x main\n"
    changes = {
        "etc/apt/sources.list.d/off.sources": off,
        "etc/apt/sources.list.d/src.list": sources,
    }
    assert age(tmp_path, changes) == 30 * HOUR


def test_lists_of_an_architecture_that_an_option_names(tmp_path: Path) -> None:
    text = release(**{"main/binary-i386/Packages": len(PACKAGES)})
    changes = {
        "etc/apt/sources.list": "deb [arch=i386] http://deb.example/debian bookworm main\n",
        f"{DEBIAN}InRelease": aged(text),
        f"{DEBIAN}main_binary-i386_Packages": aged(PACKAGES),
        "var/lib/dpkg/arch": "amd64\ni386\n",
    }
    assert age(tmp_path, changes) == 2 * HOUR


def test_lists_of_an_architecture_that_dpkg_does_not_know_are_not_needed(tmp_path: Path) -> None:
    text = release(**{"main/binary-arm64/Packages": 9})
    changes: dict[str, Any] = {
        "etc/apt/sources.list.d/arm.list": "deb [arch=arm64] http://deb.example/debian x main\n",
        f"{LISTS}/deb.example_debian_dists_x_InRelease": aged(text, 99),
    }
    assert age(tmp_path, changes) == 30 * HOUR
