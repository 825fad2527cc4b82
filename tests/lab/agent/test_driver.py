"""The driver: missing, mismatched, upgraded under a running agent, replaced by a playbook."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.rigs.machine import Rig
from lab.simulate import faults
from tests.lab.agent.conftest import NAME, UNIT, Watched
from tests.lab.operator import fab, reboot

Fault = Callable[..., None]


@pytest.fixture(autouse=True)
def healthy(watched: Watched) -> None:
    watched.until("sum(deeprig_gpu_up) == 3")


def test_mismatch_at_start(watched: Watched, fault: Fault) -> None:
    fault("mismatch")
    watched.rig.run(f"systemctl restart {UNIT}")  # it starts, and reports the mismatch
    watched.until('deeprig_driver_state{state="mismatch"} == 1')
    assert "reboot" in watched.verdict("driver", "critical")["advice"]
    watched.alert("DeeprigDriverNotOk")
    assert watched.values("count(deeprig_pcie_path_width_lanes)") == [3]
    main = watched.rig.run(f"systemctl show -p MainPID --value {UNIT}").stdout
    faults.switch(watched.rig, "mismatch", on=False)
    watched.until("sum(deeprig_gpu_up) == 3")
    assert watched.rig.run(f"systemctl show -p MainPID --value {UNIT}").stdout == main


def test_upgrade_under_a_running_agent(watched: Watched) -> None:
    """As an unattended upgrade does it: new libraries, and the old module until the reboot."""
    rig = watched.rig
    held = rig.run("apt-mark showhold").stdout.split()
    install = "apt-get install -qy --allow-downgrades --allow-change-held-packages"
    rig.run(f"{install} {packages('580.82.07')}")
    assert "mismatch" in rig.run("nvidia-smi", check=False).stdout
    watched.until('deeprig_driver_state{state="mismatch"} == 1')
    verdict = watched.verdict("driver", "critical")
    assert "library 580.82.07, loaded module 580.95.05" in verdict["reading"]
    rig.run(f"{install} {packages('580.95.05')}; apt-mark hold {' '.join(held)}")
    watched.until('deeprig_driver_state{state="ok"} == 1')
    assert watched.verdict("driver", "ok")


def packages(version: str) -> str:
    """The packages of the driver in one version, as apt's arguments."""
    names = (
        "libnvidia-ml1",
        "libcuda1",
        "nvidia-driver-libs",
        "nvidia-smi",
        "nvidia-modprobe",
        "nvidia-persistenced",
        "nvidia-kernel-support",
        "nvidia-kernel-open-dkms",
        "nvidia-driver",
        "nvidia-open-580",
    )
    return " ".join(f"{name}={version}-1" for name in names)


def test_no_driver_at_all(watched: Watched) -> None:
    rig = watched.rig
    # As long as the agent has it open, the module can't go: this is what a play stops it for.
    assert "in use" in rig.run("modprobe -r nvidia", check=False).stderr
    rig.run(f"systemctl stop {UNIT}; modprobe -r nvidia; systemctl start {UNIT}")
    watched.until('deeprig_driver_state{state="missing"} == 1')
    assert "fab provision" in watched.verdict("driver", "critical")["advice"]
    watched.until("absent(deeprig_gpu_temperature_celsius)")
    watched.until("count(deeprig_pcie_path_width_lanes) == 3")
    watched.until("sum(deeprig_gpu_up) == 0")
    rig.run("modprobe nvidia")
    watched.until("sum(deeprig_gpu_up) == 3")


def test_the_driver_is_replaced_by_a_play(watched: Watched) -> None:
    """Another branch: the driver step stops the agent, the agent step starts it."""
    words = ("-e", "nvidia_driver_branch=570", "--tags", "driver,reboot,agent")
    result = fab(watched.inventory, NAME, "provision", "--verbose", *words, seconds=240)
    assert result.status == 0, result.text
    result.assert_shows("Stop the agent's use of the driver")
    watched.until('deeprig_driver_info{driver_version="570.195.03"}')
    assert watched.verdict("driver", "ok")
    result = fab(watched.inventory, NAME, "provision", "--tags", "driver,reboot,agent", seconds=240)
    assert result.status == 0, result.text
    watched.until('deeprig_driver_info{driver_version="580.95.05"}')


def test_nothing_is_left_to_change(watched: Watched) -> None:
    result = fab(watched.inventory, NAME, "provision", "--tags", "driver,power,agent", seconds=120)
    result.assert_shows("changed=0")


def test_a_gpu_that_is_gone_stays_expected(watched: Watched, fault: Fault) -> None:
    rig: Rig = watched.rig
    fault("missing", "1")
    reboot(rig)
    result = fab(watched.inventory, NAME, "provision", "--tags", "power,agent", seconds=120)
    assert result.status == 0, result.text
    assert "gpus: 3\n" in rig.run("cat /etc/deeprig/agent.yml").stdout
    watched.verdict("gpu-count", "critical")
    faults.switch(rig, "missing", on=False, argument="1")
    reboot(rig)
    watched.until("sum(deeprig_gpu_up) == 3")
    result = fab(watched.inventory, NAME, "provision", "--tags", "power,agent", seconds=120)
    assert result.status == 0, result.text
