"""The release beneath a rig: its machine's, or another one from the same package sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.build import base, flavour, host, vendor_table
from lab.build.host import Source
from lab.errors import LabError


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine with Debian 12."""
    release = {"ID": "debian", "VERSION_CODENAME": "bookworm"}
    monkeypatch.setattr(host, "read_release", lambda: release)
    sources = [
        Source("http://mirror.example/debian", "bookworm", ("main",)),
        Source("http://mirror.example/debian", "bookworm-updates", ("main",)),
        Source("http://mirror.example/security", "bookworm-security", ("main", "contrib")),
    ]
    monkeypatch.setattr(host, "list_sources", lambda: sources)
    monkeypatch.setattr(host, "list_keyrings", lambda: [Path(base.ARCHIVE_KEYS)])
    return release


def test_base_is_the_machines_own_unless_the_flavour_names_another() -> None:
    assert base.find(flavour.find("hiveos").release).codename == "bookworm"
    assert base.find("").sources == tuple(host.list_sources())
    assert base.find(flavour.find("debian13").release).codename == "trixie"


def test_another_release_has_the_same_sources_with_its_suites() -> None:
    assert base.find("trixie").lines().splitlines() == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main contrib",
    ]


def test_debian_13_on_a_machine_with_ubuntu_is_an_error(machine: dict[str, str]) -> None:
    machine.update(ID="ubuntu", VERSION_CODENAME="noble")
    with pytest.raises(LabError, match="Debian's trixie"):
        base.find("trixie")


def test_new_system_with_sqv_has_no_gnupg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "bootstrap", lambda *_: None)
    apt = tmp_path / "etc/apt"
    (apt / "sources.list.d").mkdir(parents=True)
    keys = tmp_path / base.ARCHIVE_KEYS.lstrip("/")
    keys.parent.mkdir(parents=True)
    keys.touch()
    for name in ("bookworm", "trixie"):
        (apt / "sources.list.d/0000base.list").write_text("deb …\n")
        base.find(name).build(tmp_path, tmp_path / "log")
    assert "gnupg" in base.find("bookworm").packages
    assert "gnupg" not in base.find("trixie").packages
    assert [file.name for file in (apt / "sources.list.d").iterdir()] == ["debian.sources"]
    first, second = (apt / "sources.list.d/debian.sources").read_text().split("\n\n")
    assert "Suites: trixie trixie-updates\nComponents: main\nSigned-By: /usr/share" in first
    assert "Suites: trixie-security\nComponents: main contrib" in second


def test_vendors_repository_for_debian_13_has_neither_branch_580_nor_cuda_12() -> None:
    table = vendor_table.load_table("trixie")
    rows = list(vendor_table.list_vendor_rows(table))
    names = {row.row["name"] for row in rows}
    versions = {row.row["version"] for row in rows}
    assert {"nvidia-open", "cuda-drivers", "nvidia-driver-pinning-590"} <= names
    assert not {"nvidia-open-580", "cuda-toolkit-12-8", "cuda-toolkit-13-0"} & names
    assert not [version for version in versions if "+cuda12" in version]
    assert {*table["indexes"]} == {*vendor_table.load_table()["indexes"]}
