"""What is around a miner: log purgers, checks that are off, registries, pins, clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.build import flavour
from provision.remote.facts.surroundings import surroundings
from provision.remote.facts.tree import Tree
from tests.unit.facts.flavour_tree import lay
from tests.unit.facts.signs import find_started, format_signs
from tests.unit.facts.test_miners import find_mining_os
from tests.unit.modules.rig import create_files

OF_FLAVOURS = yaml.safe_load(Path(__file__).with_name("flavour_surroundings.yml").read_text())
PASSWD = "root:x:0:0::/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/bash\n"


def find(root: Path, files: dict[str, Any], *folders: str, mines: bool = True) -> list[str]:
    create_files(root, {"etc/passwd": PASSWD, **files})
    return format_signs(surroundings(Tree(str(root)), folders, mines))


CRONTAB = "var/spool/cron/crontabs/root"
UNIT = "etc/systemd/system/x.service"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # Logs that are deleted.
        (
            {CRONTAB: "30 * * * * sudo find /var/log -type f -delete\n"},
            f"log purger find /var/log -type f -delete /{CRONTAB}",
        ),
        (
            {"etc/crontab": "0 * * * * root rm -rf /var/log/*\n"},
            "log purger rm -rf /var/log/* /etc/crontab",
        ),
        (
            {"etc/rc.local": "#!/bin/sh\nfind /var/log/ -name '*.journal' -exec rm {} +\n"},
            "log purger find /var/log/ -name '*.journal' -exec rm /etc/rc.local",
        ),
        (
            {"etc/cron.hourly/clean": "#!/bin/sh\ntruncate -s 0 /var/log/*\n"},
            "log purger clean /etc/cron.hourly/clean",
        ),
        (
            {
                "etc/cron.d/x": "@daily root /opt/clean.sh\n",
                "opt/clean.sh": "#!/bin/sh\nrm -r /var/log\n",
            },
            "log purger /opt/clean.sh /etc/cron.d/x",
        ),
        # The console that jumps away from the keyboard.
        ({CRONTAB: "* * * * * chvt 1\n"}, f"console switcher chvt 1 /{CRONTAB}"),
        (
            {UNIT: "[Service]\nExecStart=/usr/bin/watch -n1 chvt 1\n"},
            f"console switcher x.service /{UNIT}",
        ),
        ({CRONTAB: "0 8 * * * killall tmate\n"}, f"remote control killall tmate /{CRONTAB}"),
        # Checks that are off.
        (
            {"home/me/.gitconfig": "[http]\n\tsslVerify = false\n"},
            "tls check off sslVerify = false /home/me/.gitconfig",
        ),
        (
            {"etc/gitconfig": '[http "https://git.example"] sslverify=0\n'},
            "tls check off sslverify=0 /etc/gitconfig",
        ),
        ({"root/.npmrc": "strict-ssl=false\n"}, "tls check off strict-ssl=false /root/.npmrc"),
        (
            {"home/me/.yarnrc": '"strict-ssl" false\n'},
            'tls check off "strict-ssl" false /home/me/.yarnrc',
        ),
        ({"root/.curlrc": "insecure\n"}, "tls check off insecure /root/.curlrc"),
        ({"home/me/.curlrc": "-k\n"}, "tls check off -k /home/me/.curlrc"),
        (
            {"etc/wgetrc": "check_certificate = off\n"},
            "tls check off check_certificate = off /etc/wgetrc",
        ),
        (
            {"etc/apt/apt.conf.d/99x": 'Acquire::https::Verify-Peer "false";\n'},
            'tls check off Verify-Peer "false" /etc/apt/apt.conf.d/99x',
        ),
        (
            {"etc/apt/apt.conf": 'APT { Get { AllowUnauthenticated "true"; }; };\n'},
            'tls check off AllowUnauthenticated "true" /etc/apt/apt.conf',
        ),
        (
            {"etc/environment": "NODE_TLS_REJECT_UNAUTHORIZED=0\n"},
            "tls check off NODE_TLS_REJECT_UNAUTHORIZED=0 /etc/environment",
        ),
        (
            {"home/me/.bashrc": "export GIT_SSL_NO_VERIFY=true\n"},
            "tls check off GIT_SSL_NO_VERIFY=true /home/me/.bashrc",
        ),
        (
            {"etc/pip.conf": "[global]\ntrusted-host = pypi.org files.pythonhosted.org\n"},
            "tls check off trusted-host = pypi.org files.pythonhosted.org /etc/pip.conf",
        ),
        (
            {"root/.condarc": "ssl_verify: false\n"},
            "tls check off ssl_verify: false /root/.condarc",
        ),
        (
            {"home/me/.yarnrc.yml": "enableStrictSsl: false\n"},
            "tls check off enableStrictSsl: false /home/me/.yarnrc.yml",
        ),
        (
            {"etc/profile.d/x.sh": "export PIP_TRUSTED_HOST=pypi.org\n"},
            "tls check off PIP_TRUSTED_HOST=pypi.org /etc/profile.d/x.sh",
        ),
        (
            {"etc/pip.conf": "[global]\ntimeout = 60\ntrusted-host =\n    pypi.org\n"},
            "tls check off pypi.org /etc/pip.conf",
        ),
        # Desktops that log a user in.
        (
            {"etc/sddm.conf.d/autologin.conf": "[Autologin]\nUser=miner\nSession=plasma\n"},
            "autologin User=miner /etc/sddm.conf.d/autologin.conf",
        ),
        (
            {
                "etc/greetd/config.toml": '[default_session]\nuser = "greeter"\n'
                '[initial_session]\ncommand = "sway"\nuser = "miner"\n'
            },
            'autologin user = "miner" /etc/greetd/config.toml',
        ),
        (
            {"etc/slim.conf": "default_user miner\nauto_login yes\n"},
            "autologin auto_login yes /etc/slim.conf",
        ),
        (
            {"etc/kde4/kdm/kdmrc": "[X-:0-Core]\nAutoLoginEnable=true\n"},
            "autologin AutoLoginEnable=true /etc/kde4/kdm/kdmrc",
        ),
        # Registries of others.
        (
            {"root/.pip/pip.conf": "[global]\nextra-index-url =\n  http://203.0.113.9/simple\n"},
            "foreign registry http://203.0.113.9/simple /root/.pip/pip.conf",
        ),
        (
            {"etc/pip.conf": "[global]\nfind-links = https://pypi.lan/a http://203.0.113.9/b\n"},
            "foreign registry find-links = https://pypi.lan/a http://203.0.113.9/b /etc/pip.conf",
        ),
        (
            {"etc/environment": "PIP_INDEX_URL=http://203.0.113.9/simple\n"},
            "foreign registry PIP_INDEX_URL=http://203.0.113.9/simple /etc/environment",
        ),
        (
            {"etc/apt/sources.list.d/x.list": "deb [trusted=yes] http://x.example/deb ./\n"},
            "foreign registry deb [trusted=yes] http://x.example/deb "
            "/etc/apt/sources.list.d/x.list",
        ),
        (
            {"root/.npmrc": "registry=http://203.0.113.40:4873/\n"},
            "foreign registry registry=http://203.0.113.40:4873/ /root/.npmrc",
        ),
        (
            {"home/me/.pip/pip.conf": "[global]\nindex-url = http://pypi.x.example/simple\n"},
            "foreign registry index-url = http://pypi.x.example/simple /home/me/.pip/pip.conf",
        ),
        # Names that lead elsewhere.
        (
            {"etc/hosts": "203.0.113.41 api.minerstat.example\n"},
            "hosts pin api.minerstat.example /etc/hosts",
        ),
        (
            {"etc/hosts": "192.168.1.5 us1.ethermine.example # proxy\n"},
            "hosts pin us1.ethermine.example /etc/hosts",
        ),
        # Memory and logs.
        (
            {"etc/fstab": "tmpfs\t/var/log tmpfs size=50M 0 0\n"},
            "tmpfs over logs tmpfs\t/var/log tmpfs /etc/fstab",
        ),
        (
            {"etc/fstab": "tmpfs /tmp tmpfs defaults,size=100M,mode=1777 0 0\n"},
            "small tmp tmpfs /tmp tmpfs defaults,size=100M /etc/fstab",
        ),
        (
            {"etc/systemd/journald.conf": "[Journal]\nStorage=volatile\n"},
            "volatile journal Storage=volatile /etc/systemd/journald.conf",
        ),
        ({"var/log/journal": {"link": "/dev/shm"}}, "volatile journal /dev/shm /var/log/journal"),
        (
            {"etc/sysctl.d/9.conf": "vm.nr_hugepages = 1280\n"},
            "hugepages vm.nr_hugepages = 1280 /etc/sysctl.d/9.conf",
        ),
        (
            {"etc/rc.local": "#!/bin/sh\nsysctl -w vm.nr_hugepages=1280\n"},
            "hugepages vm.nr_hugepages=1280 /etc/rc.local",
        ),
        (
            {"etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet mitigations=off"\n'},
            "mitigations off mitigations=off /etc/default/grub",
        ),
        # Clocks and fans.
        (
            {UNIT: "[Service]\nExecStart=/usr/bin/nvidia-smi -i 0 -pl 220\n"},
            f"overclock x.service /{UNIT}",
        ),
        (
            {
                UNIT: "[Service]\nExecStart=/opt/oc.sh\n",
                "opt/oc.sh": "#!/bin/sh\nnvidia-smi --lock-memory-clocks=5001\n",
            },
            f"overclock x.service /{UNIT}",
        ),
        (
            {CRONTAB: "@reboot nvidia-settings -a '[gpu:0]/GPUMemoryTransferRateOffset[3]=1200'\n"},
            f"overclock nvidia-settings -a '[gpu:0]/GPUMemoryTransferRateOffset /{CRONTAB}",
        ),
        (
            {UNIT: "[Service]\nExecStart=nvidia-settings -a [fan:0]/GPUTargetFanSpeed=90\n"},
            f"fan control x.service /{UNIT}",
        ),
        (
            {"etc/lightdm/lightdm.conf": "[Seat:*]\nautologin-user=me\n"},
            "autologin autologin-user=me /etc/lightdm/lightdm.conf",
        ),
        # Files of the distribution.
        (
            {"etc/profile": "until screen -x boot; do sleep 1; done\n"},
            "rewritten file waits for a session /etc/profile",
        ),
        (
            {"home/me/.bash_profile": "exec screen -x miner\n"},
            "rewritten file waits for a session /home/me/.bash_profile",
        ),
        ({"etc/profile": ". /opt/mining/bashrc\n"}, "rewritten file /opt/mining /etc/profile"),
        (
            {
                "usr/lib/systemd/system/getty@.service": (
                    "[Service]\nExecStart=-/sbin/agetty --autologin miner %I\n"
                )
            },
            "rewritten file --autologin /usr/lib/systemd/system/getty@.service",
        ),
        (
            {"usr/lib/systemd/system/networking.service": "[Service]\nExecStart=/opt/mining/net\n"},
            "rewritten file /opt/mining /usr/lib/systemd/system/networking.service",
        ),
        (
            {"etc/pam.d/common-session": "session optional pam_exec.so /opt/mining/x\n"},
            "rewritten file /opt/mining /etc/pam.d/common-session",
        ),
        (
            {"etc/update-motd.d/10-help-text": "#!/bin/sh\ncat /opt/mining/help\n"},
            "rewritten file /opt/mining /etc/update-motd.d/10-help-text",
        ),
        (
            {"etc/network/if-up.d/hello": "#!/bin/sh\n/opt/mining/hello\n"},
            "rewritten file /opt/mining /etc/network/if-up.d/hello",
        ),
        # A mining system of which only a link is left.
        (
            {"usr/lib/systemd/system/hivex.service": {"link": "/hive/etc/hivex.service"}},
            "link /hive/etc/hivex.service /usr/lib/systemd/system/hivex.service",
        ),
    ],
)
def test_surroundings_of_a_miner_are_found(
    tmp_path: Path, files: dict[str, Any], expected: str
) -> None:
    assert find(tmp_path, files, "/opt/mining") == [expected]


#: A desktop, a server, a gaming machine, a machine for deep learning: nothing here is a miner's.
ORDINARY: list[dict[str, Any]] = [
    # Logs that are rotated, by their owner.
    {CRONTAB: "0 3 * * * find /var/log/app -type f -delete\n"},
    {CRONTAB: "0 3 * * * find /var/log -name '*.gz' -mtime +30 -delete\n"},
    {CRONTAB: "0 3 * * * find /var/log -name '*.gz' -delete; rm -f /var/log/app/*\n"},
    {CRONTAB: "# find /var/log -type f -delete\n# deeprig: chvt 1\n"},
    {"etc/cron.daily/logrotate": "#!/bin/sh\n/usr/sbin/logrotate /etc/logrotate.conf\n"},
    # Mirrors in the house, in a company, of a country, and NVIDIA's.
    {"etc/pip.conf": "[global]\nindex-url = https://mirror.example.com/simple\n"},
    {"etc/pip.conf": "[global]\nextra-index-url = file:///opt/simple\nfind-links = /opt/wheels\n"},
    {"etc/pip.conf": "[global]\nindex-url = http://10.0.0.5/simple\ntrusted-host = 10.0.0.5\n"},
    {"etc/pip.conf": "[global]\nindex-url=http://pypi.lan/simple\ntrusted-host=pypi.lan\n"},
    {"etc/pip.conf": "[global]\nextra-index-url = https://pypi.ngc.nvidia.com\ntimeout = 60\n"},
    {
        "etc/pip.conf": "[global]\nextra-index-url =\n  https://pypi.ngc.nvidia.com\n  http://pypi.lan\n"
    },
    {"etc/sddm.conf": "[Users]\nHideUsers=miner\nMaximumUid=60000\n[Autologin]\nUser=\n"},
    {"etc/greetd/config.toml": '[default_session]\ncommand = "agreety"\nuser = "_greetd"\n'},
    {"home/me/.npmrc": "registry=https://registry.npmjs.org/\nstrict-ssl=true\n"},
    {"home/me/.npmrc": "registry=http://localhost:4873/\n@me:registry=http://127.0.0.1:4873\n"},
    {"home/me/.gitconfig": "[http]\n\tsslVerify = true\n# sslVerify = false\n"},
    {"etc/apt/apt.conf.d/20x": 'Acquire::Check-Valid-Until "false";\nAcquire::http::Proxy "x";\n'},
    {"etc/wgetrc": "# check_certificate = off\n"},
    {"etc/apt/sources.list": "deb [trusted=yes] file:/srv/deb ./\ndeb http://x.example/d x\n"},
    {"home/me/.bashrc": "export PIP_INDEX_URL=https://mirror.example.com/simple\n"},
    {"home/me/.curlrc": "--silent\nkeepalive-time=2\n"},
    # Names that are blocked, of machines in the house, of time servers.
    {"etc/hosts": "127.0.1.1 miner\n0.0.0.0 xmr.pool.example\n:: pool.example\n"},
    {"etc/hosts": "192.168.1.20 miner1 miner1.lan pool.home\n"},
    {"etc/hosts": "203.0.113.7 0.pool.ntp.org git.example.com whirlpool.example\n"},
    # What owners set.
    {"etc/sysctl.d/postgres.conf": "vm.nr_hugepages = 4096\n"},
    {"etc/lightdm/lightdm.conf": "[Seat:*]\nautologin-user=me\n"},
    {"etc/fstab": "tmpfs /tmp tmpfs defaults,size=2G 0 0\n"},
    {"etc/systemd/journald.conf": "[Journal]\n#Storage=auto\nSystemMaxUse=1G\n"},
    {"etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet splash mitigations=off"\n'},
    {UNIT: "[Service]\nExecStart=/usr/bin/nvidia-smi -pl 250\n"},
    {"home/me/.bashrc": '[ -z "$TMUX" ] && exec tmux attach\n'},
    # The distribution's files.
    {"etc/profile": "for i in /etc/profile.d/*.sh; do\n  . $i\ndone\n"},
    {"usr/lib/systemd/system/getty@.service": "[Service]\nExecStart=-/sbin/agetty %I\n"},
    {"etc/systemd/system/a.service": {"link": "/usr/lib/systemd/system/b.service"}},
    {"etc/systemd/system/a.service": {"link": "/dev/null"}},
]


@pytest.mark.parametrize("files", ORDINARY)
def test_ordinary_machines_have_no_surroundings(tmp_path: Path, files: dict[str, Any]) -> None:
    assert find(tmp_path, files, mines=False) == []


@pytest.mark.parametrize(
    "traces",
    [
        {"var/backups/deeprig/removed/x": ""},
        {"var/lib/deeprig/demining": ""},
        {"etc/hosts": "203.0.113.41 api.minerstat.example\n"},
        {"usr/lib/systemd/system/hivex.service": {"link": "/hive/etc/hivex.service"}},
    ],
)
def test_usual_settings_count_on_a_rig_that_has_mined(
    tmp_path: Path, traces: dict[str, Any]
) -> None:
    rows = find(tmp_path, {**traces, "etc/sysctl.conf": "vm.nr_hugepages=128\n"}, mines=False)
    assert "hugepages vm.nr_hugepages=128 /etc/sysctl.conf" in rows


@pytest.mark.parametrize(
    "files",
    [
        {"etc/sysctl.conf": "# deeprig: vm.nr_hugepages=128\n"},
        {"root/.npmrc": "# deeprig: strict-ssl=false\n"},
        {"etc/apt/apt.conf": '# deeprig: APT::Get::AllowUnauthenticated "true";\n'},
        {"etc/rc.local": "#!/bin/sh\n: # deeprig: chvt 1\n"},
        {"home/me/.bashrc": ": # deeprig: export GIT_SSL_NO_VERIFY=true\n"},
        {"etc/profile": ": # deeprig: until screen -x a; do b; done\n"},
        {"etc/hosts": "# deeprig: 203.0.113.41 api.minerstat.example\n"},
        {UNIT: "# Written by deeprig (x).\n[Service]\nExecStart=/usr/bin/nvidia-smi -pl 250\n"},
    ],
)
def test_what_demine_switched_off_is_not_found_again(tmp_path: Path, files: dict[str, Any]) -> None:
    assert find(tmp_path, files) == []


def test_timer_of_a_unit_goes_with_it(tmp_path: Path) -> None:
    files = {
        UNIT: "[Service]\nExecStart=/usr/bin/nvidia-smi -pl 220\n",
        "etc/systemd/system/x.timer": "[Timer]\nOnBootSec=60\n",
    }
    assert find(tmp_path, files) == [
        f"overclock x.service /{UNIT}",
        "overclock x.timer /etc/systemd/system/x.timer",
    ]


def test_names_hold_no_password(tmp_path: Path) -> None:
    files = {"root/.npmrc": "registry=http://me:SECRET@203.0.113.40:4873/\n"}
    assert find(tmp_path, files) == ["foreign registry registry=http:// /root/.npmrc"]


def test_scripts_of_the_mining_system_go_with_it(tmp_path: Path) -> None:
    files = {CRONTAB: "@reboot /opt/mining/oc\n", "opt/mining/oc": "#!/bin/sh\nnvidia-smi -pl 9\n"}
    assert find(tmp_path, files, "/opt/mining") == []


@pytest.mark.parametrize("name", list(flavour.load_table()))
def test_surroundings_of_a_flavour_are_complete(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    system = find_mining_os(tmp_path)
    folders = system["folders"] if system else []
    mines = bool(system or find_started(tmp_path, *folders))
    rows = surroundings(Tree(str(tmp_path)), folders, mines)
    assert format_signs(rows) == OF_FLAVOURS.get(name, [])
