"""What starts a miner that no file names by an absolute path: scripts, cgroups, instances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.facts.signs import find_started, process
from tests.unit.modules.rig import create_files

MINING = (
    "[Service]\nWorkingDirectory=/home/user/trex\nExecStart=/bin/bash start.sh\nRestart=always\n"
)
START = {"home/user/trex/start.sh": "#!/bin/bash\n./t-rex -a ethash\n"}
PASSWD = {"etc/passwd": "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/bash\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # Relative to the folder of the unit, of the user, of an earlier `cd`.
        (
            {"etc/systemd/system/mining.service": MINING, **START},
            ["unit mining.service /etc/systemd/system/mining.service"],
        ),
        (
            {
                **PASSWD,
                "etc/systemd/system/go.service": (
                    "[Service]\nUser=me\nWorkingDirectory=~\nExecStart=/bin/sh -c ./go\n"
                ),
                "home/me/go": "#!/bin/sh\n. conf/run\n",
                "home/me/conf/run": "/opt/t-rex\n",
            },
            ["unit go.service /etc/systemd/system/go.service"],
        ),
        (
            {
                **PASSWD,
                "var/spool/cron/crontabs/me": "@reboot cd lol && ./start.sh\n",
                "home/me/lol/start.sh": "#!/bin/sh\nexec ./lolMiner\n",
            },
            ["cron ./start.sh /var/spool/cron/crontabs/me"],
        ),
        (
            {
                **PASSWD,
                "var/spool/cron/crontabs/me": "@reboot $HOME/a.sh\n@reboot ${HOME}/b.sh\n",
                "home/me/a.sh": "#!/bin/sh\nxmrig\n",
                "home/me/b.sh": "#!/bin/sh\ncd /opt; ./run\n",
                "opt/run": "#!/bin/sh\nminerd\n",
            },
            [
                "cron $HOME/a.sh /var/spool/cron/crontabs/me",
                "cron ${HOME}/b.sh /var/spool/cron/crontabs/me",
            ],
        ),
        (
            {
                "etc/cron.d/x": "@reboot root /opt/x/a.sh\n",
                "opt/x/a.sh": '#!/bin/sh\ncd "$(dirname "$0")"\nbash b\n',
                "opt/x/b": "gminer\n",
            },
            ["cron /opt/x/a.sh /etc/cron.d/x"],
        ),
        (
            {
                "home/me/.bashrc": "(cd ~/m && bash run.txt) &\n",
                "home/me/m/run.txt": "nbminer \\\n  -a x\n",
            },
            ["login run.txt /home/me/.bashrc"],
        ),
        # What is only read is not run: a word in a file of settings is not a miner.
        (
            {
                "etc/systemd/system/p.service": (
                    "[Service]\nWorkingDirectory=/etc/p\nExecStart=/usr/bin/p --config p.yml\n"
                ),
                "etc/p/p.yml": "jobs: [xmrig]\n",
            },
            [],
        ),
    ],
)
def test_scripts_are_found_by_relative_paths(
    tmp_path: Path, files: dict[str, Any], expected: list[str]
) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "unit", "expected"),
    [
        # The unit names no miner; the process that mines is in its control group.
        (
            {"etc/systemd/system/work.service": "[Service]\nExecStart=/opt/w --run\n"},
            "work.service",
            ["unit work.service /etc/systemd/system/work.service", "process t-rex pid 6"],
        ),
        # An instance of a template.
        (
            {"etc/systemd/system/work@.service": "[Service]\nExecStart=/opt/w %i\n"},
            "work@0.service",
            ["unit work@0.service /etc/systemd/system/work@.service", "process t-rex pid 6"],
        ),
        # What carries many things is not the miner's: only the process is.
        ({"lib/systemd/system/cron.service": "x"}, "cron.service", ["process t-rex pid 6"]),
        ({"lib/systemd/system/ssh.service": "x"}, "ssh.service", ["process t-rex pid 6"]),
        ({"lib/systemd/system/getty@.service": "x"}, "getty@tty1.service", ["process t-rex pid 6"]),
        ({"lib/systemd/system/user@.service": "x"}, "user@1000.service", ["process t-rex pid 6"]),
        ({"lib/systemd/system/docker.service": "x"}, "docker.service", ["process t-rex pid 6"]),
    ],
)
def test_unit_is_found_by_the_control_group_of_its_miner(
    tmp_path: Path, files: dict[str, Any], unit: str, expected: list[str]
) -> None:
    create_files(tmp_path, {**files, **process(6, 1, "/opt/t-rex", unit=unit)})
    assert find_started(tmp_path) == expected


def test_watchdog_is_no_second_unit_by_its_process(tmp_path: Path) -> None:
    guard = "etc/systemd/system/guard.service"
    create_files(
        tmp_path,
        {
            guard: "[Service]\nExecStart=/opt/guard\n",
            "opt/guard": "#!/bin/sh\npgrep t-rex || reboot\n",
            **process(6, 1, "/opt/t-rex", unit="guard.service"),
        },
    )
    assert find_started(tmp_path) == [f"watchdog guard.service /{guard}", "process t-rex pid 6"]


IDLE = """#!/bin/bash
while sleep 60; do
    read -r load _ </proc/loadavg
    [ $load = 0.00 ] && reboot
done
"""
MINER = {"etc/systemd/system/a.service": "[Service]\nExecStart=/opt/t-rex\n"}
A_UNIT = "unit a.service /etc/systemd/system/a.service"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # On a rig that mines: what watches whether it works, and can reset it.
        (
            {
                **MINER,
                "etc/systemd/system/cpu-watchdog.service": "[Service]\nExecStart=/opt/idle.sh\n",
                "opt/idle.sh": IDLE,
            },
            ["watchdog cpu-watchdog.service /etc/systemd/system/cpu-watchdog.service", A_UNIT],
        ),
        (
            {
                **MINER,
                "etc/cron.d/check": "*/5 * * * * root /opt/check\n",
                "opt/check": "#!/bin/sh\nnvidia-smi | grep 100% || echo b >/proc/sysrq-trigger\n",
            },
            [A_UNIT, "cron /opt/check /etc/cron.d/check"],
        ),
        # A restart at night, and a look at the load, are the owner's choice.
        (
            {
                **MINER,
                "etc/systemd/system/nightly.service": "[Service]\nExecStart=/sbin/reboot\n",
                "etc/cron.d/load": "* * * * * root cat /proc/loadavg >> /var/log/load\n",
            },
            [A_UNIT],
        ),
        # So is a watchdog where nothing mines.
        (
            {
                "etc/systemd/system/cpu-watchdog.service": "[Service]\nExecStart=/opt/idle.sh\n",
                "opt/idle.sh": IDLE,
            },
            [],
        ),
        # A package's own is not the miner's.
        (
            {
                **MINER,
                "lib/systemd/system/watchdog.service": "[Service]\nExecStart=/usr/sbin/idle.sh\n",
                "usr/sbin/idle.sh": IDLE,
            },
            [A_UNIT],
        ),
    ],
)
def test_guards_of_a_rig_that_mines_are_watchdogs(
    tmp_path: Path, files: dict[str, Any], expected: list[str]
) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == expected


def test_instances_of_a_template_are_units(tmp_path: Path) -> None:
    template = "etc/systemd/system/miner@.service"
    wants = "etc/systemd/system/multi-user.target.wants"
    create_files(
        tmp_path,
        {
            template: "[Service]\nExecStart=/opt/t-rex/t-rex --gpu %i\n",
            f"{wants}/miner@0.service": {"link": f"/{template}"},
            **process(6, 1, "/opt/t-rex/t-rex", unit="miner@1.service"),
        },
    )
    assert find_started(tmp_path) == [
        f"unit miner@0.service /{template}",
        f"unit miner@1.service /{template}",
        "process t-rex pid 6",
    ]
