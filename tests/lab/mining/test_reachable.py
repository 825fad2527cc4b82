"""Demining ends only when a person can log in: a profile may keep every login waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.mining.rigs import demine, find_mining
from tests.lab.operator import fab, wait_until

#: A miner, and logins that wait: in a way that demine knows, and in ways that only a login shows.
SETUP = r"""
set -e
cp /usr/lib/lab-hardware/fake-miner /usr/local/bin/xmrig
cd /etc/systemd/system
printf '[Service]\nExecStart=/usr/local/bin/xmrig\nRestart=always\n' >work.service
printf '[Install]\nWantedBy=multi-user.target\n' >>work.service
systemctl daemon-reload
systemctl --quiet enable --now work
echo 'while true; do screen -x farm; sleep 1; done' >>/etc/bash.bashrc
echo 'while [ ! -e /run/farm ]; do sleep 1; done' >/home/user/.bash_login
useradd --create-home --shell /usr/sbin/nologin service
"""


@pytest.mark.extended
def test_logins_that_wait_for_ever_stop_demining(
    make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    rig = make_rig("test31", flavour="clean")
    inventory = write_inventory(rig)
    rig.run(SETUP)
    wait_until(lambda: find_mining(rig))

    result = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert result.status != 0
    result.assert_shows(
        "a login shell does not end or does not start for user:", "fab restore -H test31"
    )
    # The miner is gone, and what demine knows is settled: root can log in.
    assert find_mining(rig) == []
    assert rig.run("timeout 20 su --login --command 'echo in'").stdout == "in\n"

    # Nothing mines any more, but the proof is still to come.
    again = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert again.status != 0
    again.assert_shows("does not start for user:")
    rig.run("rm /home/user/.bash_login")
    demine(inventory, rig.name)
    assert demine(inventory, rig.name)["changed"] == 0
    assert rig.run("pgrep -cx screen || true").stdout == "0\n"
    rig.discard()
