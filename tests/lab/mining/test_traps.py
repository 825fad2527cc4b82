"""The traps of the flavours work: the obvious way to remove a miner triggers them."""

from __future__ import annotations

from collections.abc import Callable

from lab.rigs.machine import Rig
from tests.lab.mining.rigs import find_mining
from tests.lab.operator import reboot, wait_until

MakeRig = Callable[..., Rig]


def test_stopping_the_miner_before_its_watchdog_resets_the_rig(make_rig: MakeRig) -> None:
    rig = make_rig("test39", flavour="ubuntu-miner")
    boots = rig.state()["boots"]
    rig.run("systemctl disable --now t-rex")
    rig.wait(boots=boots + 1)
    rig.down()


def test_removed_hiveos_crontab_returns_after_a_reboot(make_rig: MakeRig) -> None:
    rig = make_rig("test38", flavour="hiveos")
    rig.run("crontab -r")
    reboot(rig)
    assert "/hive/bin/agent-screen" in rig.run("crontab -l").stdout
    rig.down()


def test_msos_restarts_its_miner_and_overwrites_the_name_servers(make_rig: MakeRig) -> None:
    rig = make_rig("test37", flavour="msos")
    rig.run("pkill -u minerstat; sed -i /minerstat/d /etc/resolv.conf")
    reboot(rig)
    wait_until(lambda: "minerstat" in rig.run("cat /etc/resolv.conf").stdout)
    wait_until(lambda: any("t-rex/t-rex" in line for line in find_mining(rig)))
    rig.down()
