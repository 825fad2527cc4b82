"""The lab's flavours; every mining system has a row in the lab and in the product."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.build import flavour
from lab.errors import LabError
from provision.remote.facts.tables import table

ROOT = Path(__file__).parents[3]
ROWS = yaml.safe_load((ROOT / "playbooks/vars/mining_os.yml").read_text())
SYSTEMS = {system["key"]: system for system in table("mining_os.json")["systems"]}


def test_every_mining_system_is_removed_or_refused() -> None:
    taken, refused = set(ROWS["mining_systems"]), set(ROWS["mining_systems_refused"])
    assert taken | refused == set(SYSTEMS)
    assert not taken & refused


def test_every_system_has_a_flavour() -> None:
    assert set(SYSTEMS) <= set(flavour.load_table())


@pytest.mark.parametrize("name", list(ROWS["mining_systems"]))
def test_moved_folders_are_backed_up_first(name: str) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks/backup.yml").read_text())
    backed_up = play["vars"]["backup_paths"] + play["vars"]["backup_in_own_homes"]
    drivers = {"/hive-drivers-pack"}  # installers, a GB of them
    for path in set(ROWS["mining_systems"][name]["moved"]) - drivers:
        assert any(Path(path).match(p) or Path(p) in Path(path).parents for p in backed_up), path


def test_flavour_has_the_layers_of_its_bases() -> None:
    names = [layer.name for layer in flavour.find("hijacked").layers]
    assert names == ["clean", "smos", "hijacked"]
    assert flavour.find("hijacked").user == "miner"
    assert "driver_pack=/root/drivers" in flavour.find("hijacked").script()


def test_flavour_depends_on_its_own_files() -> None:
    paths = {str(path.relative_to(flavour.FOLDER)) for path in flavour.find("hijacked").paths()}
    assert {"flavours.yml", "setup.sh", "smos/tree/etc/rc.local"} <= paths
    assert not any(path.startswith("hiveos") for path in paths)


def test_unknown_flavour_error_lists_the_flavours() -> None:
    with pytest.raises(LabError, match=r"called windows(.|\n)*ubuntu-miner"):
        flavour.find("windows")


def test_miners_are_links_to_the_fake_miner() -> None:
    links = [file for file in flavour.FOLDER.rglob("*") if file.is_symlink()]
    targets = {str(link.readlink()) for link in links}
    assert {path for path in targets if "lab-hardware" in path} == {
        "/usr/lib/lab-hardware/fake-miner"
    }
