"""Every mining system is removed, and does not return after a reboot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.rigs.machine import Rig
from provision.boundary.facts import RigFacts
from tests.lab.mining.pool import ADDRESS
from tests.lab.mining.rigs import demine, facts, find_mining, list_sockets
from tests.lab.operator import reboot, wait_until

#: The rig of each flavour, and the key of its system.
RIGS = {
    "hiveos": ("test20", "hiveos"),
    "msos": ("test21", "msos"),
    "hijacked": ("test22", "smos"),
    "ubuntu-miner": ("test23", None),
    "smos": ("test24", "smos"),
    "mmpos": ("test25", "mmpos"),
    "ethos": ("test26", "ethos"),
}


@dataclass(frozen=True)
class DeminedRig:
    """A rig that was demined, and the reports of each step."""

    flavour: str
    rig: Rig
    inventory: Path
    before: RigFacts
    predicted: dict[str, Any]
    first: dict[str, Any]
    after: RigFacts


#: Those whose ways others of the table have as well.
EXTENDED = ("mmpos", "ethos", "ubuntu-miner", "hijacked", "smos")


def list_flavours(names: Iterable[str]) -> list[Any]:
    """Parameters of the fixture."""
    return [
        pytest.param(name, marks=[pytest.mark.extended] if name in EXTENDED else [])
        for name in names
    ]


@pytest.fixture(scope="module", params=list_flavours(RIGS))
def demined(
    request: pytest.FixtureRequest,
    make_rig: Callable[..., Rig],
    write_inventory: Callable[..., Path],
) -> Iterator[DeminedRig]:
    """Each flavour, on its own rig."""
    name = RIGS[request.param][0]
    rig = make_rig(name, flavour=request.param)
    inventory = write_inventory(rig)
    # It mines: it is connected to the pool.
    wait_until(
        lambda: any(
            f"{ADDRESS[0]}:{ADDRESS[1]}" in line and "ESTAB" in line for line in list_sockets(rig)
        )
    )
    before = facts(inventory, name)
    predicted = demine(inventory, name, "--check")
    first = demine(inventory, name)
    yield DeminedRig(
        request.param, rig, inventory, before, predicted, first, facts(inventory, name)
    )
    rig.down()


def test_facts_name_the_mining_system(demined: DeminedRig) -> None:
    system = demined.before["mining_os"]
    assert (system and system["key"]) == RIGS[demined.flavour][1]
    assert system is None or system["missing"] == []
    assert demined.before["miners"]


def test_demine_removes_all_mining_evidence(demined: DeminedRig) -> None:
    assert find_mining(demined.rig) == []
    assert demined.after["mining_os"] is None
    assert demined.after["miners"] == []
    assert {entry["kind"] for entry in demined.after["access"]} <= {"key", "sudo"}
    state = demined.rig.run("systemctl is-system-running", check=False).stdout.strip()
    assert state == "running", demined.rig.run("systemctl --failed").stdout


def test_check_mode_predicts_the_changes(demined: DeminedRig) -> None:
    result, was = demined.predicted["tasks"], demined.first["tasks"]
    wrong = {
        task: (result.get(task), status)
        for task, status in was.items()
        if result.get(task) != "unknown"
        and (result.get(task) == "changed") != (status == "changed")
    }
    assert wrong == {}
    assert demined.predicted["changed"] > 0


def test_the_second_run_changes_nothing(demined: DeminedRig) -> None:
    second = demine(demined.inventory, demined.rig.name)
    assert second["changed"] == 0
    again = demine(demined.inventory, demined.rig.name, "--check")
    assert again["changed"] == 0
    assert "unknown" not in again


def check_it_stays_demined(demined: DeminedRig, reboots: int) -> None:
    for _ in range(reboots):
        reboot(demined.rig)
        assert find_mining(demined.rig) == []
    rig_facts = facts(demined.inventory, demined.rig.name)
    assert rig_facts["mining_os"] is None
    assert rig_facts["miners"] == []
    assert demine(demined.inventory, demined.rig.name)["changed"] == 0


def test_rig_stays_demined_after_a_reboot(demined: DeminedRig) -> None:
    check_it_stays_demined(demined, 1)


@pytest.mark.extended
def test_rig_stays_demined_after_two_more_reboots(demined: DeminedRig) -> None:
    check_it_stays_demined(demined, 2)


#: What belongs to the operator or to the distribution stays or comes back: command, output.
KEPT = {
    "hiveos": [
        # The distribution's unit is its package's file, Wi-Fi goes on, and nothing leads nowhere.
        ("dpkg --verify systemd | grep /usr/lib/systemd || true", ""),
        ("stat -c %F /usr/lib/systemd/system/wpa_supplicant@wlan0.service", "regular file"),
        ("systemctl is-active wpa_supplicant@wlan0", "active"),
        ("grep -c ssid= /etc/wpa_supplicant/wpa_supplicant.conf", "1"),
        ("find /etc /usr/lib/systemd /usr/lib/udev -lname '/hive*'", ""),
        ("find /etc/systemd /usr/lib/systemd -xtype l", ""),
        ("ls /etc/systemd/system | grep -c hive || true", "0"),
        ("grep -cE ' /var/(log|tmp)[^ ]* tmpfs' /proc/mounts || true", "0"),
        ("grep -h '^Storage' /etc/systemd/journald.conf || true", ""),
        ("sysctl -n vm.nr_hugepages", "0"),
        ("grep -c mitigations /etc/default/grub || true", "0"),
        ("grep -c net.ifnames=0 /etc/default/grub", "1"),
    ],
    "msos": [
        (
            "crontab -u minerstat -l | grep -v '^#'",
            "30 4 * * * /usr/bin/find /tmp -xdev -name 'upload-*' -mtime +7 -delete",
        ),
        # The vendor's files are put aside; the distribution's are here again.
        ("cmp /etc/profile /usr/share/base-files/profile", ""),
        ("grep -c 'until screen' /var/backups/deeprig/removed/etc/profile", "1"),
        ("timeout 20 su --login minerstat --command 'echo in' | tail -n 1", "in"),
        ("dpkg --verify systemd | grep -c system/getty || true", "0"),
        ("grep -c autologin /lib/systemd/system/getty@.service || true", "0"),
        ("grep -v '^#' /root/.npmrc", "fund=false"),
        ("git config --file /home/minerstat/.gitconfig http.sslverify || true", ""),
        (
            "grep -c name /home/minerstat/.gitconfig; stat -c %U /home/minerstat/.gitconfig",
            "1\nminerstat",
        ),
        ("grep -c '^[^#].*minerstat.example' /etc/hosts || true", "0"),
        ("stat -c %F /var/log/journal", "directory"),
        ("pgrep -cf [c]ore/wrapper || true", "0"),
        (
            "systemctl is-enabled rsyslog systemd-timesyncd apt-daily.timer",
            "enabled\nenabled\nenabled",
        ),
        ("systemctl is-enabled systemd-udevd", "static"),
        ("systemctl is-active rsyslog", "active"),
        ("apt-mark showhold | grep -c linux || true", "0"),
        ("grep -v '^#' /etc/sysctl.d/99-panic.conf", "vm.swappiness=10"),
        ("grep -c '^Storage' /etc/systemd/journald.conf.d/shm.conf || true", "0"),
        ("grep -c minerstat /etc/resolv.conf || true", "0"),
        ("ls /home/minerstat/minerstat-os /media/storage 2>/dev/null | wc -l", "1"),
        ("stat -c %a /var/backups/deeprig/removed", "700"),
    ],
    "hijacked": [
        ("grep -c '^ssh' /root/.ssh/authorized_keys", "1"),
        ("grep -c '^# deeprig: ssh.*simplemining' /root/.ssh/authorized_keys", "1"),
        (
            "grep -c NOPASSWD /etc/sudoers.d/support; sudo -lU support | grep -c NOPASSWD || true",
            "1\n0",
        ),
        ("crontab -l | grep -v '^#'", "10 5 * * * /usr/bin/true"),
        ("grep -c '^[^#]' /etc/cron.d/sysupdate || true", "0"),
    ],
    "ubuntu-miner": [
        ("grep -v '^#' /etc/cron.d/mine", "0 4 * * * root /usr/bin/true"),
        ("crontab -u user -l | grep -v '^#'", "15 3 * * * /usr/bin/true"),
        ("sh -n /etc/rc.local && grep -c modprobe /etc/rc.local", "1"),
        ("bash -n /home/user/.bash_profile && stat -c %U /home/user/.bash_profile", "user"),
        ("systemctl is-enabled gminer || true", "masked"),
        ("ls /var/backups/deeprig/removed/etc/systemd/system/*.service | wc -l", "3"),
    ],
}


@pytest.mark.parametrize("demined", list_flavours(KEPT), indirect=True)
def test_system_settings_are_kept_or_restored(demined: DeminedRig) -> None:
    # msOS writes the name servers at each boot, and marks the file.
    demined.rig.run("sed -i '/minerstat/d' /etc/resolv.conf")
    reboot(demined.rig)
    for command, answer in KEPT[demined.flavour]:
        assert demined.rig.run(command).stdout.strip() == answer, command
