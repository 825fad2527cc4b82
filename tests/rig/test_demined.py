"""Nothing of the miner is left: no unit, cron line, process, login, port or key."""

from __future__ import annotations

import re
from typing import Any

from provision.remote.facts.access import authorized_keys, key_paths
from provision.remote.facts.tables import table
from tests.rig.proof import Proof, Row, row
from tests.rig.subject import Subject

ACCESS = table("access.json")
#: Remote control that mining systems and their resellers leave, by process or unit name.
REMOTE_CONTROL = sorted(ACCESS["remote_control_of_mining_systems"] + ACCESS["remote_control"])
#: A comment of a key that a mining system's vendor left.
MINING_KEYS = re.compile(ACCESS["vendor_key_comment"], re.IGNORECASE)
LOOPBACK = ("127.", "::1", "[::1]")


def test_no_mining_system(subject: Subject, prove: Proof) -> None:
    """Mining system.
    What is left of one starts again at the next boot or update.
    """
    mining_os = subject.facts["mining_os"]
    reading = (
        f"{mining_os['name']} (by {', '.join(mining_os['evidence'])})" if mining_os else "none"
    )
    prove(
        [
            row(
                "rig",
                reading,
                "none",
                not mining_os,
                f"fab provision -H {subject.name} --tags demine",
            )
        ]
    )


def test_no_miner(subject: Subject, prove: Proof) -> None:
    """Miners.
    Units, crontabs, logins, containers and processes that mine or start a miner, and what may.
    """
    demine = f"fab provision -H {subject.name} --tags demine"
    kept = subject.expected.get("mining_kept", [])
    rows = [
        row(miner["name"], f"{miner['kind']}: {miner['evidence']}", "none", False, demine)
        for miner in subject.facts["miners"]
    ]
    for suspect in subject.facts["suspects"]:
        if suspect["name"] not in kept and "all" not in kept:
            reading = f"{suspect['kind']}: {suspect['evidence']} ({', '.join(suspect['signs'])})"
            advice = (
                f"If it is a miner's: {demine} --stop {suspect['name']}. If it is yours, add it to "
                "mining_kept in the inventory."
            )
            rows.append(row(suspect["name"], reading, "none", False, advice, "warning"))
    prove(rows or [Row("rig", "none", "none")])


def test_no_watchdog(subject: Subject, prove: Proof) -> None:
    """USB watchdogs.
    An unfed watchdog presses the reset button in the middle of a training run.
    """
    watchdogs = [str(watchdog) for watchdog in subject.facts["usb_watchdogs"]]
    prove(
        [
            row(
                "rig",
                ", ".join(watchdogs) or "none",
                "none",
                not watchdogs,
                "Pull it out, or take its wires off the board's reset pins.",
                "warning",
            )
        ]
    )


def test_no_remote_control(subject: Subject, prove: Proof) -> None:
    """Remote control.
    Programs by which the mining system's vendor, or a seller, can still get in.
    """
    names = {line.strip() for line in subject.read("ps -eo comm=").splitlines()}
    units = subject.read("systemctl list-unit-files --type=service --state=enabled --no-legend")
    enabled = {line.split()[0].removesuffix(".service") for line in units.splitlines() if line}
    rows = [
        row(
            name,
            "running" if name in names else "enabled",
            "gone",
            False,
            f"systemctl disable --now {name}; then remove its package.",
        )
        for name in REMOTE_CONTROL
        if name in names | enabled
    ]
    prove(rows or [Row("rig", "none", "none")])


def test_listening_ports(subject: Subject, prove: Proof) -> None:
    """Listening ports.
    An unexpected port is a way in, or a miner's console.
    """
    agent = subject.expected["agent_url"].rpartition(":")[2]
    allowed = {*map(str, subject.expected["listen_ports"]), agent}
    rows = []
    for line in subject.read("ss -Hltnp").splitlines():
        cells = line.split()
        address, _, port = cells[3].rpartition(":")
        if address.startswith(LOOPBACK) or port in allowed:
            continue
        who = re.search(r'"([^"]+)"', line)
        rows.append(
            row(
                f"port {port}",
                who.group(1) if who else "a program",
                "none",
                False,
                "Stop it, or add the port to validation_listen_ports.",
                "warning",
            )
        )
    prove(rows or [Row("rig", "none that is not expected", "none")])


def test_authorized_keys(subject: Subject, host: Any, prove: Proof) -> None:
    """Authorised keys.
    Who may log in without a password; mining systems leave their vendor's. Whose the others are,
    only you know: list the keys to keep in authorized_keys_only in the inventory.
    """
    wanted = {key for _, key, _ in authorized_keys(subject.expected.get("authorized_keys", []))}
    expectation = "of authorized_keys_only" if wanted else "no mining vendor's"
    rows = []
    users = [line.split(":") for line in subject.read("getent passwd").splitlines()]
    for home in sorted({user[5] for user in users if len(user) > 5}):
        for file in map(host.file, key_paths(home)):
            lines = file.content_string.splitlines() if file.exists else []
            for _, key, comment in authorized_keys(map(str.strip, lines)):
                rows.append(
                    row(
                        f"{home} {comment[:40] or key[-16:]}",
                        "may log in",
                        expectation,
                        key in wanted if wanted else not MINING_KEYS.search(comment),
                        f"Take it out of {file.path}.",
                    )
                )
    prove(rows or [Row("rig", "none", expectation)])


def test_host_keys(subject: Subject, host: Any, prove: Proof) -> None:
    """SSH host keys.
    Readable by others, anyone on the network can pass as this rig.
    """
    rows = []
    for path in subject.output("ls /etc/ssh/ssh_host_*_key").split():
        mode = host.file(path).mode & 0o777
        rows.append(
            row(
                path,
                f"{mode:04o}",
                "0600, or 0640 with a private group",
                mode & 0o037 == 0,
                f"chmod 600 {path}",
            )
        )
    prove(rows or [row("rig", "none", "at least one", False, "ssh-keygen -A")])
