"""Miners that still run on a rig, found without the product's code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab.rigs.machine import Rig
from provision.boundary.facts import RigFacts
from tests.lab.operator import fab

#: Words of command lines that only mining systems and miners have.
OF_MINERS = (
    r"/hive|/opt/mmp|/opt/ethos|minerstat|rclocal|update_status|xminer|gpu-tuning|/opt/guard|"
    r"SCREEN|tmux|shellinabox|ncat|core/|5watchdog|3main|qli-|moneroocean|/opt/work"
)
#: Prints the processes that run the lab's fake miner, under whatever name.
FAKE_MINERS = """
for folder in /proc/[0-9]*; do
    cmp -s $folder/exe /usr/lib/lab-hardware/fake-miner && tr '\\0' ' ' <$folder/cmdline && echo
done
true
"""


def facts(inventory: Path, name: str) -> RigFacts:
    """deeprig's own facts of a rig."""
    result = fab(inventory, name, "facts", "--json")
    assert result.status == 0, result.text
    rig_facts: RigFacts = json.loads(result.stdout)[name]["ansible_local"]["deeprig"]
    return rig_facts


def demine(inventory: Path, name: str, *words: str) -> dict[str, Any]:
    """`fab provision --tags demine --json`: the counts, and the status of each task."""
    # A rig that others took over is demined like any other, once that is accepted.
    words = ("--tags", "demine", "--accept-taken-over", "--json", *words)
    result = fab(inventory, name, "provision", *words)
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.status == 0, result.stdout
    tasks: dict[str, str] = {}
    for number, task in enumerate(document["tasks"]):
        tasks[f"{number} {task['task']}"] = task["status"]
    return {**document["hosts"][name], "tasks": tasks}


def list_sockets(rig: Rig) -> list[str]:
    """List ports and connections of the rig's processes, except sshd's."""
    lines = rig.run("ss -Htnap").stdout.splitlines()
    return [line for line in lines if "users:" in line and '"sshd"' not in line]


def find_mining(rig: Rig) -> list[str]:
    """List the processes and sockets of miners; a demined rig has none."""
    fake_miners = rig.run(FAKE_MINERS).stdout.splitlines()
    others = rig.run("ps -eo args=").stdout.splitlines()
    return [
        *fake_miners,
        *(line for line in others if re.search(OF_MINERS, line)),
        *list_sockets(rig),
    ]
