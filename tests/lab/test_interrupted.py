"""Runs that are interrupted, killed or meet another run: no task is left incomplete."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabric import Config

from lab.rigs.machine import Rig
from lab.simulate import faults
from provision.boundary.messages import make_unit
from provision.engine import module_registry
from provision.errors import LostError
from provision.inventory import hosts as inventories
from provision.remote.options import normalize
from provision.remote.worker import INTERVAL
from provision.ssh.rig_sessions import sessions_of
from tests.lab.operator import (
    STEPS,
    FabResult,
    fab,
    finish,
    start,
    wait_until,
    write_playbook,
    write_variant,
)

NAME = "test6"
PURGE = (
    "dpkg --force-all --purge "
    "$(dpkg-query -W -f '${Package} ' '*nvidia*' 'libcuda*' 'libnv*' '*glx*' 2>/dev/null) 2>&1"
)


def shell_task(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "ansible.builtin.shell": {"cmd": text}}


@pytest.fixture
def marks(target: Rig) -> Iterator[Path]:
    """A folder of the rig in which tasks create files."""
    folder = target.root / "root/marks"
    folder.mkdir()
    yield folder
    target.run("rm -r /root/marks")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A playbook whose first task lasts three seconds."""
    first = "touch /root/marks/began; sleep 3; touch /root/marks/ended"
    return write_playbook(
        tmp_path, shell_task("Slow one", first), shell_task("Later one", "touch /root/marks/later")
    )


def worker_pid(target: Rig) -> int:
    """The pid of the worker in the rig."""
    return int(target.run("pgrep -f '^python3 -IS -c'").stdout.split()[0])


def connection_pid(target: Rig) -> int:
    """Return the pid of the sshd process in the rig that serves the connection."""
    return int(target.run("pgrep -f '^sshd: user@notty'").stdout.split()[0])


def assert_worker_is_gone(target: Rig) -> None:
    """Wait until no worker is on the rig."""
    wait_until(lambda: target.run("pgrep -f '^python3 -IS -c'", check=False).returncode == 1)


def start_slow_playbook(inventory: Path, marks: Path, slow: Path) -> subprocess.Popen[str]:
    """Start the slow playbook, and wait until its first task runs and is printed."""
    run = start(inventory, NAME, "play", slow)
    wait_until((marks / "began").exists)
    time.sleep(3 * INTERVAL)
    return run


def test_second_run_is_refused_and_names_the_first_operator(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    first = start(inventory, NAME, "play", slow)
    wait_until((marks / "began").exists)
    second = fab(inventory, NAME, "play", slow)
    assert second.status == 4
    user, machine = os.environ.get("LOGNAME") or "root", os.uname().nodename
    second.assert_shows(
        "another run is at work on this rig (by ", f"@{machine} since ", f"host: {NAME}"
    )
    assert user in second.text
    assert finish(first).status == 0
    assert (marks / "later").exists()


def test_facts_can_be_read_during_a_run(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    first = start(inventory, NAME, "play", slow)
    wait_until((marks / "began").exists)
    assert fab(inventory, NAME, "facts").status == 0
    assert finish(first).status == 0


def test_interrupt_ends_the_current_task_and_starts_no_other(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    run = start_slow_playbook(inventory, marks, slow)
    run.send_signal(signal.SIGINT)
    result = finish(run)
    assert result.status == 130
    assert result.seconds < 2
    assert result.stdout == ""
    assert result.stderr.strip().splitlines() == [
        "Interrupted. A task that was under way ends on the rig by itself; run again to go on."
    ]
    wait_until((marks / "ended").exists)
    assert_worker_is_gone(target)
    assert not (marks / "later").exists()


def test_interrupt_while_connecting_ends_the_run(inventory: Path, target: Rig, slow: Path) -> None:
    with socket.create_server((target.address, 2222)) as silent:
        run = start(write_variant(inventory, NAME, ansible_port=2222), NAME, "play", slow)
        peer, _ = silent.accept()
        with peer:
            run.send_signal(signal.SIGINT)
            result = finish(run)
    assert result.status == 130
    assert result.seconds < 2
    assert result.stdout == ""


def test_closed_output_ends_the_run(inventory: Path, target: Rig) -> None:
    """As with `fab … | head`."""
    run = start(inventory, NAME, "play", STEPS / "facts.yml", "--verbose")
    assert run.stdout
    assert run.stderr
    run.stdout.close()
    assert run.wait(20) not in (0, 2, 4)
    assert run.stderr.read() == ""


def test_killed_fab_lets_the_current_task_end_and_starts_no_other(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    run = start_slow_playbook(inventory, marks, slow)
    run.kill()
    finish(run)
    wait_until((marks / "ended").exists)
    assert_worker_is_gone(target)
    assert not (marks / "later").exists()


def test_next_run_waits_for_a_run_without_an_operator(
    inventory: Path, target: Rig, marks: Path, tmp_path: Path
) -> None:
    wait = "touch /root/marks/began; until [ -e /root/marks/go ]; do sleep 0.1; done"
    long = write_playbook(
        tmp_path, shell_task("Long one", wait), shell_task("Later", "touch /root/marks/later")
    )
    run = start_slow_playbook(inventory, marks, long)
    run.kill()
    finish(run)
    folder = tmp_path / "next"
    folder.mkdir()
    # It lasts until the mark is there; meanwhile the next run reports what it waits for.
    after = write_playbook(folder, shell_task("Next one", "cp /root/marks/go /root/marks/next"))
    second = start(inventory, NAME, "play", after)
    assert second.stdout
    line = second.stdout.readline()
    assert "waiting for the run by " in line
    assert "its operator is gone" in line
    assert not (marks / "next").exists()
    (marks / "go").touch()
    result = finish(second)
    assert result.status == 0, result.text
    assert (marks / "next").exists()
    assert not (marks / "later").exists()


def test_rig_users_cannot_hold_or_redirect_the_lock(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    """In /run/lock any user could block every run."""
    target.run(
        "install -o user -m 666 /dev/null /run/lock/deeprig.lock;"
        " runuser -u user -- sh -c 'flock /run/lock/deeprig.lock sleep 60 >/dev/null 2>&1 &'"
    )
    try:
        assert fab(inventory, NAME, "play", slow).status == 0
    finally:
        target.run("pkill -u user -x flock; pkill -u user -x sleep; rm /run/lock/deeprig.lock")
    assert target.run("stat -c '%a %U' /run/deeprig").stdout.split() == ["700", "root"]
    refused = target.run("runuser -u user -- flock -n /run/deeprig/lock true", check=False)
    assert refused.returncode != 0
    # And a link in its place is not followed.
    target.run("rm -r /run/deeprig; ln -s /tmp /run/deeprig")
    result = fab(inventory, NAME, "play", slow)
    target.run("rm /run/deeprig")
    assert result.status == 4
    result.assert_shows("the rig's lock can't be taken: /run/deeprig/lock")


def assert_rig_lost(result: FabResult, why: str, slow: Path) -> None:
    assert result.status == 4
    result.assert_shows(
        f"lost the rig in the middle: {why}",
        "task: Slow one",
        f"host: {NAME}",
        f"{slow}:5:5: ",
        "Run the same command again",
    )


def test_broken_connection_ends_the_task_and_starts_no_other(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    run = start_slow_playbook(inventory, marks, slow)
    target.run(f"kill -KILL {connection_pid(target)}")
    assert_rig_lost(finish(run), "the connection was closed", slow)
    assert_worker_is_gone(target)
    assert not (marks / "later").exists()


def test_killed_worker_is_reported_and_no_task_follows(
    inventory: Path, target: Rig, marks: Path, slow: Path
) -> None:
    run = start_slow_playbook(inventory, marks, slow)
    target.run(f"kill -KILL {worker_pid(target)}")
    assert_rig_lost(finish(run), "", slow)
    assert not (marks / "later").exists()


def test_silent_peer_is_reported_as_unreachable(inventory: Path, target: Rig, marks: Path) -> None:
    """As after a power failure: no packet ends the connection."""
    host = inventories.read_inventory(inventory).host(NAME)
    sessions = sessions_of(host, Config())
    session = sessions.get("root")
    session._silence = 7.0  # more than the worker's sign of life, less than a test should last
    args = normalize("command", module_registry.options("command"), {"cmd": "sleep 14"})
    sign_of_life = next(iter(session.run([make_unit(1, "command", args)], lambda _: None)))
    assert not sign_of_life.is_done
    pid = connection_pid(target)
    target.run(f"kill -STOP {pid}")
    try:
        with pytest.raises(LostError, match="no sign of life for 7 s"):
            session._receive()
    finally:
        target.run(f"kill -KILL {pid}")
        sessions.close()
        assert_worker_is_gone(target)


@pytest.mark.extended
class TestDriver:
    """Interruptions during the installation of a package, in this order."""

    @pytest.fixture(scope="class", autouse=True)
    def prepared(self, inventory: Path) -> None:
        """Play what comes before the driver."""
        assert fab(inventory, NAME, "provision", "--tags", "demine,base").status == 0

    @pytest.mark.extended
    def test_driver_installation_resumes_after_a_killed_run(
        self, inventory: Path, target: Rig
    ) -> None:
        run = start(inventory, NAME, "play", STEPS / "driver.yml")
        unpacked = target.root / "var/lib/dpkg/info/libcuda1.list"
        wait_until(unpacked.exists)
        run.kill()
        finish(run)
        assert_worker_is_gone(target)
        second = fab(inventory, NAME, "play", STEPS / "driver.yml")
        assert second.status == 0, second.text
        third = fab(inventory, NAME, "play", STEPS / "driver.yml")
        third.assert_shows("changed=0")
        assert target.run("dpkg --audit").stdout == ""

    def test_driver_installation_resumes_after_a_killed_apt_get(
        self, inventory: Path, target: Rig
    ) -> None:
        target.run(PURGE, check=False)
        unpacked = target.root / "var/lib/dpkg/info/nvidia-modprobe.list"
        assert not unpacked.exists()
        run = start(inventory, NAME, "play", STEPS / "driver.yml")
        wait_until(unpacked.exists)
        target.run("kill -KILL $(pgrep -f '^python3 -IS -c') $(pgrep -x 'apt-get|dpkg')")
        result = finish(run)
        assert result.status == 4
        result.assert_shows("task: The driver")
        second = fab(inventory, NAME, "play", STEPS / "driver.yml")
        assert second.status == 0, second.text
        fab(inventory, NAME, "play", STEPS / "driver.yml").assert_shows("changed=0")
        assert target.run("dpkg --audit").stdout == ""

    def test_half_unpacked_package_is_reinstalled(self, inventory: Path, target: Rig) -> None:
        target.run("dpkg --force-all --purge nvidia-open-580 2>&1")
        stanza = (
            "Package: nvidia-modprobe\nStatus: hold reinstreq half-installed\n"
            "Version: 580.95.05-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
        )
        (target.root / "var/lib/dpkg/updates/0001").write_text(stanza)
        result = fab(inventory, NAME, "play", STEPS / "driver.yml")
        assert result.status == 0, result.text
        result.assert_shows("warning: installed again, as it was torn: nvidia-modprobe")
        assert target.run("dpkg --audit").stdout == ""

    def test_rig_that_does_not_reboot_is_reported(self, inventory: Path, target: Rig) -> None:
        faults.switch(target, "no-return", on=True)
        boots = target.state()["boots"]
        wait = "reboot_timeout_seconds=6"
        result = fab(inventory, NAME, "play", STEPS / "reboot.yml", "-e", wait)
        assert result.status == 4
        result.assert_shows(
            "playbooks/tasks/reboot.yml:",
            "did not come back from its reboot within 6 s",
            "task: Reboot, and go on when the rig is back",
            f"host: {NAME}",
            "then run again",
        )
        assert 6 <= result.seconds < 20
        faults.switch(target, "no-return", on=False)
        target.wait(boots=boots + 1)
        again = fab(inventory, NAME, "play", STEPS / "reboot.yml")
        assert again.status == 0, again.text
        again.assert_shows("changed=0")
        smi = target.run("nvidia-smi --query-gpu=driver_version --format=csv,noheader | uniq")
        assert smi.stdout.startswith("580.")
