"""No command shows what a miner keeps secret: wallets, pool passwords, names of farm and rig."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build import flavour
from lab.rigs.machine import Rig
from provision.paths import LOG
from tests.lab.operator import fab

LOGIN, POOL_PASSWORD = "farmer-joe.rig7", "Zx9-pool-pass"
#: Lines in places of each kind. The program has no miner's name, or has one.
PLANT = f"""
set -e
arguments='-o pool.example:3333 -u {LOGIN} -p {POOL_PASSWORD}'
mkdir -p /opt/w
cp /usr/lib/lab-hardware/fake-miner /opt/w/worker7
cp /usr/lib/lab-hardware/fake-miner /opt/w/t-rex
(crontab -l 2>/dev/null; echo "@reboot /opt/w/worker7 -a kawpow $arguments") | crontab -
printf '[Service]\\nExecStart=/opt/w/t-rex %s\\nRestart=always\\n' "$arguments" \\
    > /etc/systemd/system/w.service
printf '/opt/w/worker7 --algo ethash %s &\\n' "$arguments" >> /root/.profile
printf '#!/bin/sh\\n/opt/w/t-rex %s &\\n' "$arguments" > /etc/cron.daily/w
chmod 755 /etc/cron.daily/w
systemctl daemon-reload
systemctl start w
"""
#: Settings of the mining systems, by what is before them.
SETTINGS = re.compile(
    r"(?:RIG_PASSWD|WORKER_NAME|FARM_ID|FARM_HASH|API_TOKEN|accesskey|worker|wallet)"
    r"[\"']?\s*[=: ]\s*[\"']?([\w.-]{5,})",
)
VERBS = (
    ("facts",),
    ("facts", "--json"),
    ("assess", "--verbose"),
    ("assess", "--json"),
    ("checklist",),
    ("provision", "--tags", "demine", "--check", "--diff", "--verbose"),
    ("provision", "--tags", "demine", "--diff", "--verbose"),
    ("provision", "--tags", "demine", "--json"),
    ("status",),
    ("restore", "--check", "--diff", "--verbose"),
    ("restore", "--diff", "--verbose"),
    ("validate",),
)


def find_secrets(name: str) -> set[str]:
    """Return the secrets in the files of a flavour."""
    secrets = {LOGIN, POOL_PASSWORD}
    for tree in flavour.find(name).trees:
        for path in (path for path in tree.rglob("*") if path.is_file()):
            text = path.read_text(errors="replace")
            secrets |= {match.group(1) for match in SETTINGS.finditer(text)}
            secrets |= set(re.findall(r"0x[0-9a-fA-F]{40}", text))
    return secrets


@pytest.mark.extended
@pytest.mark.parametrize("name", [name for name in flavour.load_table() if name != "clean"])
def test_no_command_shows_a_secret_of_the_miner(
    name: str, make_rig: Callable[..., Rig], write_inventory: Callable[..., Path]
) -> None:
    rig = make_rig("test31", flavour=name)
    inventory = write_inventory(rig)
    rig.run(PLANT)
    secrets = find_secrets(name)
    shown = {}
    for words in VERBS:
        shown[" ".join(words)] = fab(inventory, rig.name, *words, seconds=300).text
    for log in LOG.glob(f"*-{rig.name}-*"):
        shown[log.name] = log.read_text()
    assert any("t-rex" in text or "worker7" in text for text in shown.values())
    leaks = [
        (source, secret) for source, text in shown.items() for secret in secrets if secret in text
    ]
    assert leaks == []
    rig.discard()
