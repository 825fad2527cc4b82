"""A demined rig boots five times, twice after a power cut: nothing returns, nothing resets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from tests.lab.mining.pool import ADDRESS
from tests.lab.mining.rigs import demine, facts, find_mining, list_sockets
from tests.lab.operator import wait_until

pytestmark = pytest.mark.extended

#: Flavours that are refused, or that never mined.
OTHERS = {"nhos", "raveos", "rental", "clean"}
FLAVOURS = [name for name in flavour.load_table() if name not in OTHERS]
#: A shutdown as it should be, and none: the power is off at once.
RESTARTS = ("systemctl reboot", "reboot -ff", "systemctl reboot", "reboot -ff", "systemctl reboot")


@pytest.mark.parametrize("name", FLAVOURS)
def test_demined_rig_stays_as_it_is_over_five_boots(
    name: str, make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    rig = make_rig(f"test{60 + FLAVOURS.index(name)}", flavour=name)
    inventory = write_inventory(rig)
    if name != "hiveos-half":  # its miner is deleted
        wait_until(
            lambda: any(
                f"{ADDRESS[0]}:{ADDRESS[1]}" in line and "ESTAB" in line
                for line in list_sockets(rig)
            )
        )
    assert demine(inventory, rig.name)["changed"] > 0
    boots = rig.state()["boots"]
    for restart in RESTARTS:
        rig.run(restart, check=False)
        boots += 1
        rig.wait(boots=boots)
        rig.run("systemctl is-system-running --wait", check=False)
        assert find_mining(rig) == []
    assert rig.state()["boots"] == boots
    assert rig.run("systemctl --failed --plain --no-legend").stdout == ""
    after = facts(inventory, rig.name)
    assert (after["mining_os"], after["miners"], after["surroundings"]) == (None, [], [])
    assert demine(inventory, rig.name)["changed"] == 0
    rig.discard()
