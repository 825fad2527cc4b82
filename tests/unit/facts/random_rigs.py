"""Rigs made at random under a seed: what starts a miner, what guards it, where it is, its name.

Each is a folder of files that a rig would have; nothing boots. A rig's one starter leads to one
program, by one of several ways, so that the finding that must come out is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: A miner's own name; a version or build in it; a name that means nothing.
NAMES = (
    *("t-rex", "lolMiner", "nbminer", "xmrig", "gminer", "teamredminer", "rigel", "bzminer"),
    *("t-rex-0.26.8", "lolMiner_v1.88_Lin64", "cpuminer-avx2", "SRBMiner-MULTI", "qli-Client"),
    *("worker7", "sys-helper", "python-svc", "kworkerd", "gpuload", "java9"),
)
PLACES = ("/opt/{}", "/home/me/{}", "/home/me/.cache/{}", "/srv/{}", "/usr/local/lib/{}", "/var/{}")
#: Ways to tell a miner what to do. The second is a file beside it.
ARGUMENTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("-a kawpow -o stratum+tcp://pool.example:3333 -u RVNADDR.rig -p x", {}),
    ("--algo ETHASH --pool ethash.2miners.com:2020 --user 0x{wallet}.rig", {}),
    ("-o eu1.ethermine.org:4444 -u 0x{wallet} -a ethash", {}),
    (
        "",
        {"config.json": '{{"pools": [{{"url": "stratum+ssl://x.example:443", "algo": "rx/0"}}]}}'},
    ),
    (
        "--config my.json",
        {"my.json": '{{"pool": "gulf.moneroocean.stream:10128", "algo": "rx/0"}}'},
    ),
)
CRONTAB = "var/spool/cron/crontabs/me"
UNIT = (
    "[Unit]\nDescription=x\n[Service]\n{}\nRestart=always\n[Install]\nWantedBy=multi-user.target\n"
)


@dataclass
class RandomRig:
    """files: as `create_files` takes them. expected: the file that must be among the evidence.

    guard: the file of what guards the miner, if anything does.
    """

    files: dict[str, Any] = field(default_factory=dict)
    expected: str = ""
    guard: str = ""


def make_rig(seed: int) -> RandomRig:
    """Return the rig of a seed: the same each time."""
    dice = random.Random(seed)
    name = dice.choice(NAMES)
    folder = dice.choice(PLACES).format(dice.choice(("m", "miner", "data", "app", "work")))
    arguments, settings = dice.choice(ARGUMENTS)
    wallet = f"{dice.getrandbits(160):040x}"
    arguments = arguments.format(wallet=wallet)
    rig = RandomRig()
    rig.files["etc/passwd"] = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/bash\n"
    rig.files[f"{folder[1:]}/{name}"] = {"content": "\x7fELF\0\0", "mode": "0755"}
    for file, text in settings.items():
        rig.files[f"{folder[1:]}/{file}"] = text.format()
    command = _way_to(dice, rig, folder, name, arguments)
    dice.choice(STARTERS)(dice, rig, folder, command)
    if dice.random() < 0.5:
        dice.choice(GUARDS)(dice, rig)
    return rig


def _way_to(dice: random.Random, rig: RandomRig, folder: str, name: str, arguments: str) -> str:
    """Return the command that runs the miner, for a shell; with a script on the way or without."""
    run = f"./{name} {arguments}".strip()
    script = dice.choice(("start.sh", "run", "go.bash", "autorun.sh"))
    texts = (
        f"#!/bin/bash\ncd {folder}\n{run}\n",
        f'#!/bin/sh\ncd "$(dirname "$0")" || exit\nwhile true; do\n  {run}\n  sleep 5\ndone\n',
        f"#!/bin/bash\n{folder}/{name} \\\n  {arguments or '-v'} \\\n  >/dev/null 2>&1\n",
        f"cd {folder} && nohup {run} &\n",
        f'#!/bin/bash\nscreen -dmS work bash -c "cd {folder}; {run}"\n',
    )
    kind = dice.randrange(len(texts) + 2)
    if kind == len(texts):
        return f"cd {folder} && {run}"
    if kind == len(texts) + 1:
        return f"{folder}/{name} {arguments}".strip()
    rig.files[f"{folder[1:]}/{script}"] = texts[kind]
    return dice.choice((f"cd {folder} && bash {script}", f"/bin/bash {folder}/{script}"))


Starter = Callable[[random.Random, RandomRig, str, str], None]


def _add(rig: RandomRig, path: str, text: str) -> None:
    rig.files[path] = text
    rig.expected = f"/{path}"


def _unit(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
    name = dice.choice(("mining", "gpu", "start", "compute"))
    place = dice.choice(("etc/systemd/system", "usr/local/lib/systemd/system"))
    lines = f"ExecStart=/bin/bash -c '{command}'"
    if command.startswith("cd ") and dice.random() < 0.5:
        run = command.partition("&& ")[2]
        lines = f"WorkingDirectory={folder}\nExecStart=/bin/bash -c '{run}'"
        if run.startswith("bash "):
            lines = f"WorkingDirectory={folder}\nExecStart=/bin/{run}"
    _add(rig, f"{place}/{name}.service", UNIT.format(lines))


def _instance(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
    _add(rig, "etc/systemd/system/rig@.service", UNIT.format(f"ExecStart=/bin/sh -c '{command}'"))
    wants = "etc/systemd/system/multi-user.target.wants"
    rig.files[f"{wants}/rig@{dice.randrange(6)}.service"] = {
        "link": "/etc/systemd/system/rig@.service"
    }


def _drop_in(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
    unit = dice.choice(("cron", "ssh", "rsyslog"))
    rig.files[f"lib/systemd/system/{unit}.service"] = "[Service]\nExecStart=/usr/sbin/x\n"
    text = f"[Service]\nExecStartPost=/bin/sh -c '{command}'\n"
    _add(rig, f"etc/systemd/system/{unit}.service.d/extra.conf", text)


def _crontab(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
    when = dice.choice(("@reboot", "* * * * *", "*/5 * * * *", "0 * * * *"))
    _add(rig, CRONTAB, f"SHELL=/bin/bash\n{when} {command}\n")


def _cron_d(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
    _add(rig, "etc/cron.d/tasks", f"*/10 * * * * root {command}\n")


def _shell_file(path: str) -> Starter:
    def starter(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
        _add(rig, path, f"# settings\n{command} &\n")

    return starter


def _line_file(path: str, form: str) -> Starter:
    def starter(dice: random.Random, rig: RandomRig, folder: str, command: str) -> None:
        _add(rig, path, form.format(command.replace('"', "'")))

    return starter


STARTERS: tuple[Starter, ...] = (
    _unit,
    _unit,
    _instance,
    _drop_in,
    _crontab,
    _cron_d,
    *map(
        _shell_file,
        (
            "etc/rc.local",
            "etc/cron.daily/job",
            "etc/profile.d/local.sh",
            "etc/network/if-up.d/up",
            "var/spool/cron/atjobs/a0001",
            "home/me/.profile",
            "home/me/.bash_login",
            "home/me/.zshrc",
            "home/me/.xsession",
            "root/.bashrc",
            "home/me/.config/openbox/autostart",
            "home/me/.config/fish/config.fish",
        ),
    ),
    _line_file("etc/xdg/autostart/x.desktop", "[Desktop Entry]\nName=x\nExec=sh -c '{}'\n"),
    _line_file("home/me/.config/autostart/x.desktop", "[Desktop Entry]\nExec=bash -c '{}'\n"),
    _line_file("home/me/.config/lxsession/LXDE/autostart", "@lxpanel\n@sh -c '{}'\n"),
    _line_file("home/me/.config/systemd/user/x.service", "[Service]\nExecStart=/bin/sh -c '{}'\n"),
    _line_file(
        "etc/supervisor/conf.d/x.conf", "[program:x]\ncommand=/bin/sh -c '{}'\nautostart=true\n"
    ),
    _line_file("etc/udev/rules.d/99-x.rules", 'ACTION=="add", RUN+="/bin/sh -c \'{}\'"\n'),
    _line_file("etc/inittab", "id:2:initdefault:\nx:2345:respawn:/bin/sh -c '{}'\n"),
)

IDLE_CHECKS = (
    '#!/bin/bash\nload=$(cut -d" " -f1 /proc/loadavg)\n[ "$load" = 0.00 ] && reboot\n',
    "#!/bin/sh\nnvidia-smi || echo b > /proc/sysrq-trigger\n",
    "#!/bin/sh\nping -c3 1.1.1.1 || shutdown -r now\n",
    "#!/usr/bin/python3\nimport os, psutil\nif psutil.cpu_percent(9) < 5: os.system('reboot')\n",
    "#!/bin/bash\npgrep -f worker >/dev/null || { sync; systemctl reboot; }\n",
    "#!/bin/sh\nexec 3>/dev/watchdog\nwhile nvidia-smi; do echo >&3; sleep 5; done\n",
)


def _guard_unit(dice: random.Random, rig: RandomRig) -> None:
    name = dice.choice(("cpu-watchdog", "net-check", "healthd"))
    rig.files["opt/check/check"] = dice.choice(IDLE_CHECKS)
    path = f"etc/systemd/system/{name}.service"
    rig.files[path] = UNIT.format("ExecStart=/opt/check/check")
    rig.guard = f"/{path}"


def _guard_cron(dice: random.Random, rig: RandomRig) -> None:
    rig.files["opt/check/check"] = dice.choice(IDLE_CHECKS)
    rig.files["etc/cron.d/check"] = "*/5 * * * * root /opt/check/check\n"
    rig.guard = "/etc/cron.d/check"


def _guard_line(dice: random.Random, rig: RandomRig) -> None:
    rig.files["etc/cron.d/check"] = (
        "*/5 * * * * root nvidia-smi | grep -q Default || /sbin/reboot\n"
    )
    rig.guard = "/etc/cron.d/check"


GUARDS: tuple[Callable[[random.Random, RandomRig], None], ...] = (
    _guard_unit,
    _guard_cron,
    _guard_line,
)
