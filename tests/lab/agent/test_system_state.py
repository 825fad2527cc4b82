"""What root reads for the agent: the driver after the next boot, and packages that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab.agent.conftest import MonitoredRig

pytestmark = pytest.mark.extended
READ = "systemctl start deeprig-system-state.service"
FILE = "/var/lib/deeprig/system.json"
CHECKS = ("next-boot", "unfinished-packages", "driver-packages", "driver-holds")
Change = Callable[[str, str], None]


@pytest.fixture
def change(monitored_rig: MonitoredRig) -> Iterator[Change]:
    """Run a command and have the rig read again; the second one undoes it after the test."""
    undo: list[str] = []

    def run(command: str, back: str) -> None:
        undo.append(back)
        monitored_rig.rig.run(f"{command}; {READ}")

    yield run
    for command in reversed(undo):
        monitored_rig.rig.run(command)
    monitored_rig.rig.run(READ)


def test_rig_in_order(monitored_rig: MonitoredRig) -> None:
    for check in CHECKS:
        monitored_rig.verdict(check, "ok")
    assert monitored_rig.values("deeprig_system_next_boot_driver") == [1]
    rig = monitored_rig.rig
    assert rig.run(f"stat -c '%U %a' {FILE}").stdout.strip() == "root 644"
    assert rig.run("systemctl is-enabled deeprig-system-state.timer").stdout.strip() == "enabled"
    shown = rig.run("systemctl show -p Result deeprig-system-state.service").stdout.strip()
    assert shown == "Result=success"


def test_next_kernel_without_the_module(monitored_rig: MonitoredRig, change: Change) -> None:
    release = monitored_rig.rig.run("uname -r").stdout.strip()
    folder = f"/lib/modules/{release}/updates"
    change(f"mv {folder} /root/updates; depmod", f"mv /root/updates {folder}; depmod")
    verdict = monitored_rig.verdict("next-boot", "critical")
    assert verdict["reading"] == f"{release} without the driver"
    monitored_rig.alert("DeeprigNextBootWithoutDriver")


def test_packages_that_do_not_fit(monitored_rig: MonitoredRig, change: Change) -> None:
    change("apt-mark unhold libcuda1", "apt-mark hold libcuda1")
    assert monitored_rig.verdict("driver-holds", "warning")["reading"] == "libcuda1 not held"
    status = "/var/lib/dpkg/status"
    change(
        f"cp {status} /root/status; sed -i '/^Package: less$/,/^$/ s/^Status: .*/Status: install "
        f"ok half-configured/' {status}",
        f"cp /root/status {status}",
    )
    assert "(half-configured)" in monitored_rig.verdict("unfinished-packages", "warning")["reading"]


def test_nothing_is_read_while_packages_change(monitored_rig: MonitoredRig) -> None:
    rig = monitored_rig.rig
    before = rig.run(f"stat -c %i {FILE}").stdout
    shown = rig.run(f"flock /var/lib/dpkg/lock-frontend true; {READ}; stat -c %i {FILE}").stdout
    assert shown != before
    hold = (
        'python3 -c \'import fcntl, subprocess as s; f = open("/var/lib/dpkg/lock-frontend", '
        f'"a"); fcntl.lockf(f, fcntl.LOCK_EX); s.run("{READ}", shell=True, check=True)\''
    )
    rig.run(hold)
    assert rig.run(f"stat -c %i {FILE}").stdout == shown
