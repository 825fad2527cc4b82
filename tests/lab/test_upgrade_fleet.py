"""`fab upgrade` of several rigs: the first is the canary, and the first regression ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.image import RigImage
from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.operator import fab
from tests.lab.test_upgrade import NEW, OLD, WORDS

NAMES = ("test98", "test99")


@pytest.fixture(scope="module")
def fleet(make_rig: Callable[..., Rig], provisioned_image: RigImage) -> list[Rig]:
    """Two provisioned rigs, whose vendor has published newer drivers."""
    return [make_rig(name, built=provisioned_image) for name in NAMES]


@pytest.mark.extended
def test_regression_of_the_canary_ends_the_upgrade_before_the_next_rig(
    fleet: list[Rig], write_inventory: Callable[..., Path], tmp_path: Path
) -> None:
    inventory = write_inventory(*fleet)
    names = ",".join(NAMES)
    result = fab(inventory, names, "provision", seconds=600)
    assert result.status == 0, result.text
    for rig in fleet:
        faults.switch(rig, "repo-new", on=True)
    canary, second = fleet
    faults.switch(canary, "driver-breaks", on=True, argument="590 gpu")

    words = (*WORDS, "--driver", "590", "--report", str(tmp_path))
    result = fab(inventory, names, "upgrade", *words, seconds=900)
    assert result.status == 1, result.text
    result.assert_shows("went back", f"Not begun, since {NAMES[0]} comes first: {NAMES[1]}.")
    document = json.loads((tmp_path / NAMES[0] / "upgrade.json").read_text())
    assert document["ending"] == "went back"
    assert not (tmp_path / NAMES[1] / "upgrade.json").exists()
    versions = "dpkg-query -W -f '${Version}' libcuda1"
    assert {rig.run(versions).stdout for rig in fleet} == {OLD}
    assert second.state()["boots"] == 1

    faults.switch(canary, "driver-breaks", on=False, argument="590 gpu")
    result = fab(inventory, names, "upgrade", *words, seconds=1800)
    assert result.status == 0, result.text
    assert {rig.run(versions).stdout for rig in fleet} == {NEW}
