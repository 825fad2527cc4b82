"""PCIe faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import MonitoredRig
from tests.lab.operator import reboot

Fault = Callable[..., None]
GPU, PORT = "0000:08:00.0", "0000:00:03.1"
WIDTH = f'deeprig_pcie_path_width_lanes{{address="{GPU}"}}'
SPEED = f'deeprig_pcie_path_speed_transfers_per_second{{address="{GPU}"}}'


@pytest.fixture(autouse=True)
def slot_split(monitored_rig: MonitoredRig) -> None:
    """Start each test with three GPUs on x4 links, as after a change in the BIOS."""
    rig = monitored_rig.rig
    if rig.profile() != "x4x4x4x4":
        rig.set(profile="x4x4x4x4")
        reboot(rig)
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    monitored_rig.until(f"{WIDTH} == 4")


def test_dropped_link_width_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    monitored_rig.verdict("pcie-width", "ok", GPU)
    changes = f'deeprig_pcie_link_changes_total{{address="{PORT}"}}'
    before = monitored_rig.values(changes)[0]
    fault("link", "0 3x1")
    monitored_rig.until(f"{WIDTH} == 1")
    verdict = monitored_rig.verdict("pcie-width", "critical", GPU)
    assert (verdict["reading"], verdict["expectation"]) == (
        f"x1 at {PORT}",
        "x4 (the narrowest device on the path)",
    )
    assert "was wider before" in verdict["advice"]
    monitored_rig.until(f"{changes} > {before}")
    monitored_rig.alert("DeeprigPcieWidthBelowExpected", address=GPU)
    faults.switch(monitored_rig.rig, "link", on=False, argument="0")
    monitored_rig.verdict("pcie-width", "ok", GPU)


def test_idle_link_speed_is_not_an_error(monitored_rig: MonitoredRig) -> None:
    monitored_rig.until(f"{SPEED} == 2.5e9")
    assert monitored_rig.values(
        f'deeprig_pcie_path_expected_speed_transfers_per_second{{address="{GPU}"}}'
    )
    status = f'deeprig_verdict{{check="pcie-speed",subject="{GPU}",status=~"warning|critical"}}'
    assert max(monitored_rig.values(f"max_over_time({status}[10s])")) == 0
    assert monitored_rig.is_quiet("DeeprigPcieSpeedBelowExpected")


def test_low_link_speed_under_load_is_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    fault("load", "0")
    monitored_rig.until(f"{SPEED} == 8e9")
    monitored_rig.verdict("pcie-speed", "ok", GPU)
    fault("link", "0 1x4")  # it trained at Gen1, and stays there though the GPU works
    monitored_rig.until(f"{SPEED} == 2.5e9")
    assert "under load" in monitored_rig.verdict("pcie-speed", "critical", GPU)["reading"]
    monitored_rig.alert("DeeprigPcieSpeedBelowExpected", address=GPU)
    # At idle again, what was seen under load still holds.
    faults.switch(monitored_rig.rig, "load", on=False, argument="0")
    monitored_rig.until(
        f'deeprig_gpu_performance_state * on(uuid) deeprig_gpu_info{{address="{GPU}"}} == 8'
    )
    assert "when it last worked" in monitored_rig.verdict("pcie-speed", "critical", GPU)["reading"]


def test_flapping_link_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    changes = f'deeprig_pcie_link_changes_total{{address="{GPU}"}}'
    for _ in range(6):
        fault("link", "0 3x1")
        monitored_rig.until(f"{WIDTH} == 1")
        faults.switch(monitored_rig.rig, "link", on=False, argument="0")
        monitored_rig.until(f"{WIDTH} == 4")
    assert monitored_rig.values(changes)[0] >= 12
    assert monitored_rig.verdict("pcie-flapping", "critical", GPU)
    monitored_rig.alert("DeeprigPcieLinkFlapping", address=PORT)


def test_errors_at_the_root_port_are_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    errors = f'deeprig_pcie_aer_errors_total{{address="{PORT}",severity="correctable"}}'
    for count in (0, 20_000, 40_000):
        fault("aer", f"0 {count} correctable")
        monitored_rig.until(f"{errors} == {count}")
    verdict = monitored_rig.verdict("pcie-errors", "critical", GPU)
    assert verdict["reading"].startswith("40000 corrected")
    monitored_rig.alert("DeeprigPcieCorrectedErrors", address=PORT)
    # The alert names the GPU of the port.
    (alert,) = [
        alert
        for alert in monitored_rig.server.api("alerts")["alerts"]
        if alert["labels"]["alertname"] == "DeeprigPcieCorrectedErrors"
        and alert["labels"]["address"] == PORT
    ]
    assert f"GPUs below it: {GPU}." in alert["annotations"]["description"]
    fault("aer", "0 3 fatal")
    monitored_rig.until(f"{errors.replace('correctable', 'fatal')} == 3")
    assert "3 fatal" in monitored_rig.verdict("pcie-errors", "critical", GPU)["reading"]
    monitored_rig.alert("DeeprigPcieUncorrectedErrors", address=PORT)


def test_missing_card_after_a_reboot_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    fault("missing", "0")
    reboot(monitored_rig.rig)
    monitored_rig.until('deeprig_gpus_found{by="bus"} == 2')
    assert monitored_rig.values("deeprig_gpus_expected") == [3]
    verdict = monitored_rig.verdict("gpu-count", "critical")
    assert verdict["reading"] == "2 on the bus, 2 answering"
    monitored_rig.alert("DeeprigGpusMissing")
    faults.switch(monitored_rig.rig, "missing", on=False, argument="0")
    reboot(monitored_rig.rig)
    monitored_rig.until('deeprig_gpus_found{by="bus"} == 3')
