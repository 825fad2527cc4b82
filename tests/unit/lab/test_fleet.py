"""What `fab lab.up` does with a rig's flavour, before anything is booted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.build import image
from lab.errors import LabError
from lab.rigs import fleet, inventory
from lab.rigs.machine import Rig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A rig that was bought with msOS, and is off."""
    monkeypatch.setenv("DEEPRIG_LAB_STATE", str(tmp_path))
    monkeypatch.setenv("DEEPRIG_LAB_NETWORK", "0")
    built = image.RigImage((), tmp_path, "msos")
    monkeypatch.setattr(image, "ensure", lambda *names: built)
    bought = Rig("rig")
    bought.folder.mkdir(parents=True)
    (tmp_path / "fingerprint").write_text("F1\n")
    bought.set(flavour="msos", profile="x1", repository=str(tmp_path))
    return bought


def test_changing_the_flavour_requires_a_fresh_rig(rig: Rig) -> None:
    with pytest.raises(LabError, match=r"bought with msos, not smos(.|\n)*--flavour smos --fresh"):
        fleet.up(1, flavour="smos")


def test_inventory_has_the_login_of_the_flavour(rig: Rig, tmp_path: Path) -> None:
    described = inventory.describe([rig], tmp_path)
    host = described["rigs"]["hosts"]["rig"]
    assert (host["ansible_user"], host["ansible_password"]) == ("minerstat", "1")


def test_status_names_the_flavour(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.status()
    shown = capsys.readouterr().out
    assert "msos" in shown
    assert rig.address in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_rig_without_a_stored_flavour_is_hiveos(rig: Rig) -> None:
    (rig.folder / "settings.json").write_text(json.dumps({"port": 22}))
    assert rig.flavour.name == "hiveos"
