"""Systems of which nothing ever mined: desktops, servers, gaming machines, made of usual parts.

What is in them comes close to mining in one way each: names, GPUs, ports, wallets, reboots.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.unit.facts.signs import GPU, process

Files = dict[str, Any]
ETHER = "0x52908400098527886E0F7030069857D2E4169EE7"


def _service(command: str, *more: str) -> str:
    return "\n".join(("[Service]", f"ExecStart={command}", "Restart=always", *more, ""))


def _container(name: str, image: str, *arguments: str, **env: str) -> Files:
    folder = f"var/lib/docker/containers/{name:0<64}"
    config = {"Image": image, "Cmd": list(arguments), "Env": [f"{k}={v}" for k, v in env.items()]}
    state = {"Name": f"/{name}", "Config": config, "State": {"Running": True}, "Args": []}
    policy = {"RestartPolicy": {"Name": "always"}}
    return {
        f"{folder}/config.v2.json": json.dumps(state),
        f"{folder}/hostconfig.json": json.dumps(policy),
    }


#: What any of them may have.
COMMON: tuple[Files, ...] = (
    {"etc/cron.d/e2scrub_all": "30 3 * * 0 root /usr/sbin/e2scrub_all_cron\n"},
    {"etc/cron.daily/logrotate": "#!/bin/sh\n/usr/sbin/logrotate /etc/logrotate.conf\n"},
    {"etc/cron.d/restart": "0 4 * * 1 root /sbin/shutdown -r now\n"},
    {"home/me/.bashrc": "export PATH=$HOME/bin:$PATH\nalias ll='ls -l'\n. ~/.cargo/env\n"},
    {"home/me/.profile": 'if [ -d "$HOME/bin" ]; then PATH="$HOME/bin:$PATH"; fi\n'},
    {"home/me/.zshrc": "plugins=(git docker)\nsource $ZSH/oh-my-zsh.sh\n"},
    {"home/miner/.profile": "PATH=/home/miner/bin:$PATH\n"},
    {"etc/profile.d/miner-docs.sh": "export MINER_DOCS_DIR=/srv/docs/miner\n"},
    {"etc/rc.local": "#!/bin/sh\nethtool -s eth0 wol g\nexit 0\n"},
    {
        "lib/systemd/system/watchdog.service": _service("/usr/sbin/watchdog"),
        "usr/sbin/watchdog": "\x7fELF /dev/watchdog\0",
    },
    {
        "etc/systemd/system/health.service": _service("/opt/health/check.sh"),
        "opt/health/check.sh": "#!/bin/sh\nping -c5 10.0.0.1 || reboot\n",
    },
    {
        "etc/cron.daily/security": "#!/bin/sh\npkill -9 xmrig; killall -q minerd t-rex\n"
        "grep -rq stratum+tcp:// /var/log/squid && mail -s mining root </dev/null\n"
    },
    process(40, 1, "/usr/sbin/sshd"),
    process(41, 1, "/usr/sbin/cron", unit="cron.service"),
)
DESKTOP: tuple[Files, ...] = (
    {
        "etc/xdg/autostart/tracker-miner-fs-3.desktop": "[Desktop Entry]\n"
        "Exec=/usr/libexec/tracker-miner-fs-3\n",
        **process(50, 1, "/usr/libexec/tracker-miner-fs-3", unit="user@1000.service"),
    },
    {"home/me/.config/autostart/slack.desktop": "[Desktop Entry]\nExec=/usr/bin/slack -u %U\n"},
    {"home/me/.config/openbox/autostart": "tint2 &\nnitrogen --restore &\n"},
    {"home/me/.config/lxsession/LXDE/autostart": "@lxpanel --profile LXDE\n@xscreensaver\n"},
    {"home/me/.config/i3/config": "exec --no-startup-id nm-applet\n"},
    {"home/me/.xsession": "exec xmonad\n"},
    {"etc/lightdm/lightdm.conf": "[Seat:*]\nautologin-user=me\n"},
    process(51, 1, "/usr/lib/xorg/Xorg", open=GPU),
    process(52, 1, "/usr/bin/gnome-shell", open=GPU),
    process(53, 1, "/opt/google/chrome/chrome", "https://2miners.com", open=GPU),
    process(54, 1, "/usr/bin/electrum", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
    process(55, 1, "/usr/bin/blender", "scene.blend", open=GPU),
    process(56, 1, "/home/me/miniconda3/bin/python3.11", "train.py", open=GPU),
)
SERVER: tuple[Files, ...] = (
    {
        "etc/systemd/system/geth.service": _service(
            f"/usr/local/bin/geth --http --miner.etherbase={ETHER}"
        )
    },
    {
        "etc/systemd/system/exporter.service": _service(
            "/opt/exporter/node_exporter --web.listen-address=:9100"
        )
    },
    {
        "etc/systemd/system/vllm.service": _service(
            "/opt/venv/bin/python -m vllm.entrypoints.openai.api_server --port 8000"
        ),
        **process(60, 1, "/opt/venv/bin/python", "-m", "vllm", open=GPU),
    },
    {
        "etc/systemd/system/app.service": _service("/srv/app/server", "User=me"),
        "srv/app/config.json": '{"listen": ":8080", "database": "postgres://db:5432/app"}',
    },
    {"etc/systemd/system/runner@.service": _service("/opt/runner/run.sh --index %i")},
    {"etc/supervisor/conf.d/celery.conf": "[program:celery]\ncommand=/srv/app/venv/bin/celery\n"},
    {"etc/udev/rules.d/99-disk.rules": 'ACTION=="add", RUN+="/usr/local/sbin/mount-disk %k"\n'},
    {
        "var/spool/cron/crontabs/root": "0 3 * * * restic backup /srv /opt/xmrig-research\n"
        "*/5 * * * * curl -fsS https://hc.example/ping\n"
    },
    {
        "var/spool/cron/crontabs/me": "@reboot cd ~/bot && ./run.sh\n",
        "home/me/bot/run.sh": "#!/bin/sh\nexec python3 bot.py --server irc.example:6667\n",
    },
    _container("db", "postgres:16", POSTGRES_PASSWORD="x"),
    _container("proxy", "traefik:v3", "--providers.docker"),
    _container("prom", "prom/prometheus", "--config.file=/etc/prometheus.yml"),
    process(61, 1, "/usr/bin/ffmpeg", "-hwaccel", "cuda", open=GPU),
    process(62, 1, "/usr/local/bin/ollama", "serve", open=GPU),
    process(63, 1, "/usr/lib/jvm/bin/java", "-jar", "minecraft.jar"),
    {"etc/inittab": "id:3:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\n"},
)
GAMING: tuple[Files, ...] = (
    process(70, 1, "/home/me/.steam/steamapps/common/Game/game.x86_64", open=GPU),
    process(71, 1, "/usr/bin/wine64-preloader", "C:\\Games\\x.exe", open=GPU),
    process(72, 1, "/usr/games/steam", open=GPU),
    process(73, 1, "/usr/bin/obs", open=GPU),
    process(74, 1, "/usr/bin/sunshine", open=GPU),
    {"home/me/.config/autostart/steam.desktop": "[Desktop Entry]\nExec=steam -silent\n"},
    {
        "etc/systemd/system/fan.service": _service("/usr/local/bin/fan-curve"),
        "usr/local/bin/fan-curve": "#!/bin/sh\nnvidia-settings -a GPUFanControlState=1\n",
    },
    {"home/me/.config/systemd/user/discord.service": _service("/usr/bin/discord")},
    {"home/me/.local/share/Steam/steamapps/common/Miner Wars/miner": "\x7fELF\0"},
)
KINDS = {"desktop": DESKTOP, "server": SERVER, "gaming machine": GAMING}


def make_clean_tree(kind: str, seed: int) -> Files:
    """Return the files of a system of a kind: most of what there is of it, the same each time."""
    dice = random.Random(f"{kind} {seed}")
    files: Files = {"etc/passwd": "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n"}
    for parts in (COMMON, KINDS[kind]):
        for part in dice.sample(parts, dice.randint(len(parts) * 2 // 3, len(parts))):
            files |= part
    return files
