"""How sure a finding is: signs of two kinds stop a program, one makes it a suspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.facts.signs import (
    GPU,
    find_started,
    find_suspects,
    process,
    read_mining_facts,
)
from tests.unit.modules.rig import create_files

WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"
POOL_PORT = 4444
#: proc_net_tcp(5): an established connection to port 4444, by the inode 77.
CONNECTION = {
    "proc/net/tcp": "  sl  local_address rem_address   st\n"
    "   0: 0100007F:9C40 0A00000A:115C 01 00000000:00000000 00:00000000 00000000  0  0 77 1\n"
}
JOB = "cron /opt/job /etc/cron.d/x"
SOCKET = "socket:[77]"


def busy(pid: int, *argv: str, **more: Any) -> dict[str, Any]:
    """A process that has kept a core busy for ten minutes."""
    cells = ["0"] * 50
    cells[11], cells[19] = "60000", "100"  # utime and starttime, in hundredths of a second
    files = process(pid, 1, *argv, **more)
    return {
        **files,
        f"proc/{pid}/stat": f"{pid} (a b) {' '.join(['S', *cells[1:]])}\n",
        "proc/uptime": "601.00 1.00\n",
    }


@pytest.mark.parametrize(
    ("files", "started", "suspects"),
    [
        # A name that other software has: process mining, a star catalogue.
        (process(6, 1, "/opt/pm/miner", "--log", "events.xes"), [], ["process miner pid 6"]),
        (busy(6, "/opt/pm/miner", "--log", "events.xes"), [], ["process miner pid 6"]),
        (
            {"etc/systemd/system/miner.service": "[Service]\nExecStart=/opt/pm/miner --log /x\n"},
            [],
            ["unit miner.service /etc/systemd/system/miner.service"],
        ),
        # The same name with what only miners have.
        (
            process(6, 1, "./miner", "--algo", "ethash", "--server", "x:1", cwd="/opt/gm"),
            ["process miner pid 6"],
            [],
        ),
        (process(6, 1, "/opt/gm/miner", open=GPU), ["process miner pid 6"], []),
        # A miner's own name in the distribution's folder, and nothing else.
        (process(6, 1, "/usr/bin/xmrig"), [], ["process xmrig pid 6"]),
        (busy(6, "/usr/bin/xmrig"), ["process xmrig pid 6"], []),
        # An unknown program that computes on a GPU: whose is it? For a pool: a miner's.
        (process(6, 1, "/opt/sim/fluid", open=GPU), [], ["gpu fluid pid 6"]),
        (busy(6, "/opt/sim/fluid", open=GPU), [], ["gpu fluid pid 6"]),
        (process(6, 1, "/opt/x", "-u", WALLET, open=GPU), ["process x pid 6"], []),
        (
            {**process(6, 1, "/opt/x", open=(*GPU, SOCKET)), **CONNECTION},
            ["process x pid 6"],
            [],
        ),
        # Renamed on a CPU: its settings, its arguments, its program tell.
        (
            {
                **busy(6, "/opt/w/worker", cwd="/opt/w"),
                "opt/w/config.json": '{"url": "stratum+tcp://p.example:1"}',
            },
            ["process worker pid 6"],
            [],
        ),
        (
            {"etc/systemd/system/w.service": "[Service]\nExecStart=/opt/w/worker\n"}
            | {"opt/w/config.json": '{"pools": [{"algo": "rx/0", "url": "supportxmr.com:3333"}]}'},
            ["unit w.service /etc/systemd/system/w.service"],
            [],
        ),
        (
            {
                **busy(6, "/opt/w/worker", "--algo", "rx/0", cwd="/opt/w"),
                "opt/w/worker": "\x7fELF mining.subscribe\0",
            },
            ["process worker pid 6"],
            [],
        ),
        (
            {
                "etc/systemd/system/w.service": "[Service]\nExecStart=/opt/w/worker\n",
                "opt/w/worker": "\x7fELF\0mining.subscribe\0",
            },
            [],
            ["unit w.service /etc/systemd/system/w.service"],
        ),
        # What keeps a core busy, and nothing else.
        (busy(6, "/opt/db/postgres"), [], []),
        # Other software has wallets, servers and names of pools.
        (process(6, 1, "/opt/geth", "--etherbase", WALLET, "--port", "30303"), [], []),
        (process(6, 1, "/usr/bin/firefox", "https://2miners.com"), [], []),
        (process(6, 1, "/opt/train", "--server", "10.0.0.2:29500"), [], []),
        ({**process(6, 1, "/opt/x", open=(SOCKET,)), **CONNECTION}, [], []),
    ],
)
def test_two_signs_make_a_miner_and_one_a_suspect(
    tmp_path: Path, files: dict[str, Any], started: list[str], suspects: list[str]
) -> None:
    create_files(tmp_path, files)
    assert (find_started(tmp_path), find_suspects(tmp_path)) == (started, suspects)


@pytest.mark.parametrize(
    ("files", "started", "suspects"),
    [
        # Programs that end a miner, or handle its files, do not start it.
        ("#!/bin/sh\npkill -9 xmrig\nkillall t-rex\n", [], []),
        ("#!/bin/sh\nrsync -a /srv/xmrig /backup\nrm -rf /opt/t-rex\n", [], []),
        ("#!/bin/sh\nps aux | grep -v grep | grep xmrig\n", [], []),
        ("#!/bin/sh\nsystemctl stop xmrig\n", [], []),
        ("#!/bin/sh\ngrep -q 'stratum+tcp://' /var/log/squid && echo mining\n", [], []),
        ("#!/bin/sh\nsystemctl start xmrig\n", [JOB], []),
        ("#!/bin/sh\nMINER=/opt/xmrig\n$MINER\n", [JOB], []),
        ("#!/bin/sh\nif ! pidof xmrig; then nice ~/m/xmrig $*; fi\n", [JOB], []),
        ("#!/bin/sh\n/opt/w -o stratum+ssl://p.example:443\n", [JOB], []),
        ("#!/bin/sh\n/opt/pm/miner --log /srv/events\n", [], [JOB]),
    ],
)
def test_scripts_start_a_miner_by_commands_that_run_it(
    tmp_path: Path, files: str, started: list[str], suspects: list[str]
) -> None:
    create_files(tmp_path, {"etc/cron.d/x": "0 * * * * root /opt/job\n", "opt/job": files})
    assert (find_started(tmp_path), find_suspects(tmp_path)) == (started, suspects)


def test_programs_that_run_others_are_not_the_miner_s(tmp_path: Path) -> None:
    """A miner in a screen does not make a miner of each unit that names screen."""
    create_files(
        tmp_path,
        {
            "etc/init.d/screen-cleanup": "#!/bin/sh\ntest -f /usr/bin/screen || exit 0\n",
            **process(
                5,
                1,
                *("SCREEN", "-dmS", "agent", "/opt/w", "-o", "stratum+tcp://pool.example:1"),
                exe="/usr/bin/screen",
            ),
            **process(6, 5, "/opt/w", "-o", "stratum+tcp://pool.example:1"),
        },
    )
    assert find_started(tmp_path) == ["screen agent pid 5", "process w pid 6"]


def test_running_scripts_that_run_a_miner_or_guard_it_are_found(tmp_path: Path) -> None:
    """No parent: the loop starts the miner in a screen, which init adopts; so does the guard."""
    loop = "#!/bin/bash\nwhile true; do screen -dmS m ./zm --pool p.example:3333; sleep 9; done\n"
    guard = "import os, psutil\nwhile psutil.cpu_percent(9) > 1: pass\nos.system('reboot')\n"
    create_files(
        tmp_path,
        {
            "home/me/loop": loop,
            "home/me/guard.py": guard,
            **process(5, 1, "/bin/bash", "/home/me/loop"),
            **process(6, 1, "./zm", "--pool", "p.example:3333", cwd="/home/me"),
            **process(7, 1, "/usr/bin/python3", "guard.py", cwd="/home/me", exe="/usr/bin/python3"),
        },
    )
    assert find_started(tmp_path) == [
        "process guard.py pid 7",
        "process loop pid 5",
        "process zm pid 6",
    ]


def test_suspects_have_reasons_and_no_secrets(tmp_path: Path) -> None:
    create_files(tmp_path, process(6, 1, "/opt/sim/fluid", "--token", WALLET[2:], open=GPU))
    (suspect,) = read_mining_facts(tmp_path)["suspects"]
    assert suspect["signs"] == ["computes on a GPU"]
    assert suspect["doubt"] == "gpu"
    assert WALLET[2:] not in str(suspect)


def test_gpu_work_is_named_with_its_script_and_desktops_are_not_work(tmp_path: Path) -> None:
    create_files(tmp_path, process(6, 1, "/venv/bin/python3", "/home/me/train.py", "5", open=GPU))
    create_files(tmp_path, process(7, 1, "/usr/lib/xorg/Xorg", open=GPU))
    create_files(tmp_path, process(8, 1, "/opt/t-rex", open=GPU))
    work = read_mining_facts(tmp_path)["gpu_work"]
    assert [(row["name"], row["evidence"]) for row in work] == [("python3 train.py", "pid 6")]


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({"etc/systemd/system/a.service": "[Service]\nExecStart=/opt/xmrig\nRestartSec=15\n"}, 15),
        (
            {"etc/systemd/system/a.service": "[Service]\nExecStart=/opt/xmrig\n"}
            | {"etc/systemd/system/a.timer": "[Timer]\nOnUnitActiveSec=1min 30s\n"},
            90,
        ),
        ({"etc/cron.d/x": "*/5 * * * * root /opt/xmrig\n"}, 300),
        ({"etc/cron.d/x": "@reboot root /opt/xmrig\n"}, 0),
        # A job of the night is not waited for.
        ({"etc/cron.d/x": "0 4 * * * root /opt/xmrig\n"}, 0),
        ({}, 0),
    ],
)
def test_restart_delay_is_the_longest_of_what_was_found(
    tmp_path: Path, files: dict[str, Any], seconds: int
) -> None:
    create_files(tmp_path, files)
    assert read_mining_facts(tmp_path)["restart_seconds"] == seconds
