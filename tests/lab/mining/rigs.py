"""What the rig itself says of what still mines on it: no word of this is the product's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab.rigs.machine import Rig
from tests.lab.operator import fab

#: Words that only a mining system's or a miner's command lines hold, in any flavour.
OF_MINERS = (
    r"/hive|/opt/mmp|/opt/ethos|minerstat|rclocal|update_status|xminer|gpu-tuning|/opt/guard|"
    r"SCREEN|tmux|shellinabox|ncat|core/"
)
#: Prints the processes that run the lab's fake miner, under whatever name.
FAKE_MINERS = """
for folder in /proc/[0-9]*; do
    cmp -s $folder/exe /usr/lib/lab-hardware/fake-miner && tr '\\0' ' ' <$folder/cmdline && echo
done
true
"""


def facts(inventory: Path, name: str) -> dict[str, Any]:
    """deeprig's own facts of a rig."""
    said = fab(inventory, name, "facts", "--json")
    assert said.status == 0, said.text
    found: dict[str, Any] = json.loads(said.stdout)[name]["ansible_local"]["deeprig"]
    return found


def demine(inventory: Path, name: str, *words: str) -> dict[str, Any]:
    """`fab provision --tags demine --json`: the counts, and the status of each task."""
    said = fab(inventory, name, "provision", "--tags", "demine", "--json", *words)
    document: dict[str, Any] = json.loads(said.stdout)
    assert said.status == 0, said.stdout
    tasks: dict[str, str] = {}
    for number, task in enumerate(document["tasks"]):
        tasks[f"{number} {task['task']}"] = task["status"]
    return {**document["hosts"][name], "tasks": tasks}


def sockets(rig: Rig) -> list[str]:
    """Listening ports and connections of the rig's own processes, but for sshd's."""
    lines = rig.run("ss -Htnap").stdout.splitlines()
    return [line for line in lines if "users:" in line and '"sshd"' not in line]


def left(rig: Rig) -> list[str]:
    """All that runs or listens on the rig and is a miner's; nothing on a rig that is demined."""
    fake_miners = rig.run(FAKE_MINERS).stdout.splitlines()
    others = rig.run("ps -eo args=").stdout.splitlines()
    return [*fake_miners, *(line for line in others if re.search(OF_MINERS, line)), *sockets(rig)]
