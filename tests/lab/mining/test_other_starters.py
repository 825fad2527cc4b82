"""Miners that start in places beside units and crontabs: logins, desktops, settings, containers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.flavour import FOLDER
from lab.rigs.machine import Rig
from tests.lab.mining.rigs import demine, facts, find_mining
from tests.lab.operator import fab, reboot, wait_until

#: Each runs /opt/w/worker, which has no miner's name; its arguments give it away.
SETUP = r"""
set -e
apt-get update -qq  # for the manager of a user's units
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends libpam-systemd >/dev/null
mkdir -p /opt/w /etc/supervisor/conf.d /etc/xdg/autostart /etc/systemd/system/cron.service.d
cp /usr/lib/lab-hardware/fake-miner /opt/w/worker
cat > /opt/w/run.sh <<'END'
#!/bin/bash
cd "$(dirname "$0")" || exit
exec ./worker -o stratum+tcp://pool.example:3333 -u farmer -p x
END
chmod 755 /opt/w/run.sh
printf '[Service]\nExecStartPost=-/bin/sh -c "exec /opt/w/run.sh &"\n' \
    > /etc/systemd/system/cron.service.d/more.conf
printf '[program:w]\ncommand=/opt/w/run.sh\n[program:web]\ncommand=/srv/web\n' \
    > /etc/supervisor/conf.d/w.conf
printf 'ACTION=="add", SUBSYSTEM=="nothing", RUN+="/opt/w/run.sh"\nACTION=="x", RUN+="/bin/y"\n' \
    > /etc/udev/rules.d/99-w.rules
printf 'id:2:initdefault:\nw:2345:respawn:/opt/w/run.sh\n' > /etc/inittab
printf '[Desktop Entry]\nType=Application\nExec=/opt/w/run.sh\n' > /etc/xdg/autostart/w.desktop
cd /home/user
mkdir -p .config/lxsession/LXDE .config/openbox .config/fish
mkdir -p .config/systemd/user/default.target.wants
printf '@lxpanel\n@/opt/w/run.sh\n' > .config/lxsession/LXDE/autostart
printf 'tint2 &\n/opt/w/run.sh &\n' > .config/openbox/autostart
printf 'if true\n    /opt/w/run.sh &\nend\n' > .config/fish/config.fish
printf 'setopt autocd\nif true; then\n  /opt/w/run.sh &\nfi\n' > .zshrc
printf 'if true; then\n  /opt/w/run.sh &\nfi\n' > .bash_login
printf '[Service]\nExecStart=/opt/w/run.sh\nRestart=always\n[Install]\nWantedBy=default.target\n' \
    > .config/systemd/user/w.service
ln -s ../w.service .config/systemd/user/default.target.wants/w.service
chown -R user:user /home/user
mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/user
# Quadlets, and a generator that reads them as Podman's does (Debian 12's Podman has none).
mkdir -p /etc/containers/systemd/gpu /etc/systemd/system-generators
printf '[Container]\nImage=x\nExec=/opt/w/run.sh -o stratum+tcp://pool.example:3333\n' \
    > /etc/containers/systemd/gpu/box.container
cat > /etc/systemd/system-generators/quadlets <<'END'
#!/bin/sh
for file in /etc/containers/systemd/*/*.container; do
    [ -f "$file" ] || continue
    name=$(basename "$file" .container).service
    { printf '[Service]\nRestart=always\n'; sed -n 's/^Exec=/ExecStart=/p' "$file"; } > "$1/$name"
    mkdir -p "$1/multi-user.target.wants"
    ln -s "../$name" "$1/multi-user.target.wants/$name"
done
END
chmod 755 /etc/systemd/system-generators/quadlets
container=/var/lib/docker/containers/7a1b
mkdir -p $container
cat > $container/config.v2.json <<'END'
{"Name": "/web", "Config": {"Image": "ubuntu:22.04", "Cmd": ["/w", "-o", "stratum+tcp://p.example:1"]},
 "State": {"Running": true}}
END
echo '{"RestartPolicy": {"Name": "always"}}' > $container/hostconfig.json
systemctl daemon-reload
"""
EVIDENCE = {
    "/etc/systemd/system/cron.service.d/more.conf",
    "/etc/supervisor/conf.d/w.conf",
    "/etc/udev/rules.d/99-w.rules",
    "/etc/inittab",
    "/etc/xdg/autostart/w.desktop",
    "/home/user/.config/lxsession/LXDE/autostart",
    "/home/user/.config/openbox/autostart",
    "/home/user/.config/fish/config.fish",
    "/home/user/.zshrc",
    "/home/user/.bash_login",
    "/home/user/.config/systemd/user/w.service",
    "/etc/containers/systemd/gpu/box.container",
    "image ubuntu:22.04",
}
#: What is left of each file: the miner's lines are comments, all others are as they were.
AFTER = {
    "/etc/supervisor/conf.d/w.conf": "[program:w]\n; deeprig: command=/opt/w/run.sh\n"
    "command=/bin/true\n[program:web]\ncommand=/srv/web\n",
    "/etc/inittab": "id:2:initdefault:\n# deeprig: w:2345:respawn:/opt/w/run.sh\n",
    "/home/user/.config/lxsession/LXDE/autostart": "@lxpanel\n# deeprig: @/opt/w/run.sh\n",
    "/home/user/.config/openbox/autostart": "tint2 &\n: # deeprig: /opt/w/run.sh & # deeprig\n",
    "/home/user/.config/fish/config.fish": "if true\n# deeprig:     /opt/w/run.sh &\nend\n",
    "/home/user/.zshrc": "setopt autocd\nif true; then\n# deeprig:   /opt/w/run.sh &\nfi\n",
    "/home/user/.bash_login": "if true; then\n: # deeprig:   /opt/w/run.sh & # deeprig\nfi\n",
}


@pytest.fixture
def docker_program() -> str:
    """The lab's docker, which works on the settings of containers."""
    return (FOLDER / "ubuntu-miner/tree/usr/bin/docker").read_text()


@pytest.mark.extended
def test_miners_of_logins_desktops_and_settings_stay_away(
    make_rig: Callable[..., Rig], write_inventory: Callable[..., Path], docker_program: str
) -> None:
    rig = make_rig("test29", flavour="clean")
    inventory = write_inventory(rig)
    rig.run(SETUP)
    (rig.root / "usr/bin/docker").write_text(docker_program)
    rig.run("chmod 755 /usr/bin/docker")
    reboot(rig)
    # One of root's, started with cron; one of a user without a session.
    for user in ("root", "user"):
        wait_until(lambda user=user: rig.run(f"pgrep -u {user} worker || true").stdout != "")

    seen = facts(inventory, rig.name)
    assert {row["evidence"] for row in seen["miners"] if "pid" not in row["evidence"]} == EVIDENCE
    assert seen["suspects"] == []
    result = fab(inventory, rig.name, "provision", "--tags", "demine")
    assert result.status == 0, result.text
    assert find_mining(rig) == []
    for path, content in AFTER.items():
        assert (rig.root / path[1:]).read_text() == content
    assert not (rig.root / "etc/xdg/autostart/w.desktop").exists()
    assert not (rig.root / "etc/systemd/system/cron.service.d/more.conf").exists()
    assert not (rig.root / "etc/containers/systemd/gpu/box.container").exists()
    assert rig.run("systemctl is-active cron").stdout.strip() == "active"
    assert facts(inventory, rig.name)["miners"] == []

    reboot(rig)
    assert rig.run("pgrep -c worker || true").stdout.strip() == "0"
    assert demine(inventory, rig.name)["changed"] == 0
    rig.discard()
