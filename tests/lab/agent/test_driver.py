"""The driver: missing, mismatched, upgraded under a running agent, replaced by a playbook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.agent.conftest import NAME, UNIT, MonitoredRig
from tests.lab.operator import fab, reboot

Fault = Callable[..., None]


@pytest.fixture(autouse=True)
def healthy(monitored_rig: MonitoredRig) -> None:
    monitored_rig.until("sum(deeprig_gpu_up) == 3")


def test_version_mismatch_at_start_is_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    fault("mismatch")
    monitored_rig.rig.run(f"systemctl restart {UNIT}")  # it starts, and reports the mismatch
    monitored_rig.until('deeprig_driver_state{state="mismatch"} == 1')
    assert "reboot" in monitored_rig.verdict("driver", "critical")["advice"]
    monitored_rig.alert("DeeprigDriverNotOk")
    assert monitored_rig.values("count(deeprig_pcie_path_width_lanes)") == [3]
    main = monitored_rig.rig.run(f"systemctl show -p MainPID --value {UNIT}").stdout
    faults.switch(monitored_rig.rig, "mismatch", on=False)
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    assert monitored_rig.rig.run(f"systemctl show -p MainPID --value {UNIT}").stdout == main


@pytest.mark.extended
def test_upgrade_under_a_running_agent(monitored_rig: MonitoredRig) -> None:
    """An unattended upgrade installs new libraries and keeps the old module until the reboot."""
    rig = monitored_rig.rig
    held = rig.run("apt-mark showhold").stdout.split()
    install = "apt-get install -qy --allow-downgrades --allow-change-held-packages"
    older, newer = packages(rig, "580.82.07"), packages(rig, "580.95.05")
    rig.run(f"{install} {older}")
    assert "mismatch" in rig.run("nvidia-smi", check=False).stdout
    monitored_rig.until('deeprig_driver_state{state="mismatch"} == 1')
    verdict = monitored_rig.verdict("driver", "critical")
    assert "library 580.82.07, loaded module 580.95.05" in verdict["reading"]
    rig.run(f"{install} {newer}; apt-mark hold {' '.join(held)}")
    monitored_rig.until('deeprig_driver_state{state="ok"} == 1')
    assert monitored_rig.verdict("driver", "ok")


def packages(rig: Rig, version: str) -> str:
    """The packages of the driver in another version, as apt's arguments."""
    query = "dpkg-query -W -f '${Package} ${Version}\\n' | awk '$2 == \"580.95.05-1\" {print $1}'"
    return " ".join(f"{name}={version}-1" for name in rig.run(query).stdout.split())


def test_missing_driver_is_critical(monitored_rig: MonitoredRig) -> None:
    rig = monitored_rig.rig
    # As long as the agent has it open, the module can't go: this is what a play stops it for.
    assert "in use" in rig.run("modprobe -r nvidia", check=False).stderr
    rig.run(f"systemctl stop {UNIT}; modprobe -r nvidia; systemctl start {UNIT}")
    monitored_rig.until('deeprig_driver_state{state="missing"} == 1')
    assert "fab provision" in monitored_rig.verdict("driver", "critical")["advice"]
    monitored_rig.until("absent(deeprig_gpu_temperature_celsius)")
    monitored_rig.until("count(deeprig_pcie_path_width_lanes) == 3")
    monitored_rig.until("sum(deeprig_gpu_up) == 0")
    rig.run("modprobe nvidia")
    monitored_rig.until("sum(deeprig_gpu_up) == 3")


@pytest.mark.extended
def test_agent_survives_a_play_that_replaces_the_driver(monitored_rig: MonitoredRig) -> None:
    """Another branch: the driver step stops the agent, the agent step starts it."""
    words = ("provision", "--verbose", "--tags", "driver,reboot,agent", "-e")
    branch = "nvidia_driver_branch="
    result = fab(monitored_rig.inventory, NAME, *words, f"{branch}570", seconds=240)
    assert result.status == 0, result.text
    result.assert_shows("Stop the agent's use of the driver")
    monitored_rig.until('deeprig_driver_info{driver_version="570.195.03"}')
    assert monitored_rig.verdict("driver", "ok")
    result = fab(monitored_rig.inventory, NAME, *words, f"{branch}580", seconds=240)
    assert result.status == 0, result.text
    monitored_rig.until('deeprig_driver_info{driver_version="580.95.05"}')


def test_second_provision_changes_nothing(monitored_rig: MonitoredRig) -> None:
    result = fab(
        monitored_rig.inventory, NAME, "provision", "--tags", "driver,power,agent", seconds=120
    )
    result.assert_shows("changed=0")


def test_missing_gpu_is_still_expected(monitored_rig: MonitoredRig, fault: Fault) -> None:
    rig: Rig = monitored_rig.rig
    fault("missing", "1")
    reboot(rig)
    result = fab(monitored_rig.inventory, NAME, "provision", "--tags", "power,agent", seconds=120)
    assert result.status == 0, result.text
    assert "gpus: 3\n" in rig.run("cat /etc/deeprig/agent.yml").stdout
    monitored_rig.verdict("gpu-count", "critical")
    faults.switch(rig, "missing", on=False, argument="1")
    reboot(rig)
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    result = fab(monitored_rig.inventory, NAME, "provision", "--tags", "power,agent", seconds=120)
    assert result.status == 0, result.text
