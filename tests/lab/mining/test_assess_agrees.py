"""The verdict of `fab assess` on a mining system is what `fab provision` then does with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from tests.lab.mining.rigs import facts, find_mining
from tests.lab.operator import fab

#: The verdicts on a rig that provisioning converts as it is.
CONVERTIBLE = ("convert in place", "converted")


@pytest.mark.extended
@pytest.mark.parametrize("name", list(flavour.load_table()))
def test_assess_and_provision_agree(
    name: str, make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    rig = make_rig("test33", flavour=name)
    inventory = write_inventory(rig)
    result = fab(inventory, rig.name, "assess", "--json")
    assert result.status == 0, result.text
    assessed = json.loads(result.stdout)[rig.name]
    gathered = facts(inventory, rig.name)
    for key in ("mining_os", "suspects", "surroundings", "rental", "access"):
        assert assessed["facts"][key] == gathered[key]

    result = fab(inventory, rig.name, "provision", "--tags", "demine", seconds=300)
    verdict = assessed["verdict"]
    assert (result.status == 0) == (verdict["system"] in CONVERTIBLE), (verdict, result.text)
    if result.status == 0:
        assert find_mining(rig) == []
    else:
        # Before the first change, and for the reasons that the assessment has.
        assert "playbooks/preflight.yml" in result.text
        assert "changed=0" in result.text
    rig.discard()
