"""dpkg's database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision.remote import dpkg
from provision.remote.host import ModuleHost
from tests.unit.modules.rig import write_packages


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0-1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.9", "1.10"),
        ("2", "1:0.1"),
        ("1.0a", "1.0+"),
        ("2.30.7-1+cuda12.9", "2.30.7-1+cuda13.2"),
        ("580.65.06-0ubuntu1", "580.65.06-0ubuntu1.1"),
    ],
)
def test_versions_are_ordered(older: str, newer: str) -> None:
    assert dpkg.compare(older, newer) < 0 < dpkg.compare(newer, older)
    assert dpkg.compare(older, older) == 0


def test_packages_are_read_from_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dpkg, "ADMIN", str(tmp_path / "var/lib/dpkg"))
    write_packages(
        tmp_path,
        {
            "mawk": {"version": "1.3", "provides": "awk, other (= 2)"},
            "held": {"version": "1", "status": "hold ok installed"},
            "half": {"version": "1", "status": "install ok half-configured"},
            "gone": {"version": "1", "status": "deinstall ok config-files"},
        },
    )
    host = ModuleHost()
    packages = dpkg.database(host)
    assert packages.find_installed("mawk")
    assert packages.providers("awk") == packages.providers("other") == ["mawk"]
    held, half, gone = (packages.find(name) for name in ("held", "half", "gone"))
    assert held
    assert held.held
    assert half
    assert (half.installed, half.present) == (False, True)
    assert gone
    assert (gone.installed, gone.present) == (False, False)
    assert packages.find("none") is None
    assert packages.find("mawk:amd64")
    assert packages.find("mawk:i386") is None
    assert dpkg.database(host) is packages, "parsed once"
    write_packages(tmp_path, {"new": "1"})
    os.utime(tmp_path / "var/lib/dpkg/status", (1, 1))
    assert dpkg.database(host).names() == ["new"], "and again when it changed"


def test_missing_database_has_no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "ADMIN", str(tmp_path))
    assert dpkg.database(ModuleHost()).names() == []
    assert not dpkg.is_interrupted()
