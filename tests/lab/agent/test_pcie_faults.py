"""What goes wrong on the PCIe bus."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import Watched
from tests.lab.operator import reboot

Fault = Callable[..., None]
GPU, PORT = "0000:08:00.0", "0000:00:03.1"
WIDTH = f'deeprig_pcie_path_width_lanes{{address="{GPU}"}}'
SPEED = f'deeprig_pcie_path_speed_transfers_per_second{{address="{GPU}"}}'


@pytest.fixture(autouse=True)
def slot_split(watched: Watched) -> None:
    """Each test begins with three GPUs on x4 links, as after a visit to the BIOS."""
    rig = watched.rig
    if rig.profile() != "x4x4x4x4":
        rig.set(profile="x4x4x4x4")
        reboot(rig)
    watched.until("sum(deeprig_gpu_up) == 3")
    watched.until(f"{WIDTH} == 4")


def test_link_drops_while_running(watched: Watched, fault: Fault) -> None:
    watched.verdict("pcie-width", "ok", GPU)
    changes = f'deeprig_pcie_link_changes_total{{address="{PORT}"}}'
    before = watched.values(changes)[0]
    fault("link", "0 3x1")
    watched.until(f"{WIDTH} == 1")
    verdict = watched.verdict("pcie-width", "critical", GPU)
    assert (verdict["reading"], verdict["expectation"]) == (
        f"x1 at {PORT}",
        "x4 (the narrowest device on the path)",
    )
    assert "was wider before" in verdict["advice"]
    watched.until(f"{changes} > {before}")
    watched.alert("DeeprigPcieWidthBelowExpected", address=GPU)
    faults.switch(watched.rig, "link", on=False, argument="0")
    watched.verdict("pcie-width", "ok", GPU)


def test_speed_at_idle_is_no_matter(watched: Watched) -> None:
    watched.until(f"{SPEED} == 2.5e9")
    assert watched.values(
        f'deeprig_pcie_path_expected_speed_transfers_per_second{{address="{GPU}"}}'
    )
    status = f'deeprig_verdict{{check="pcie-speed",subject="{GPU}",status=~"warning|critical"}}'
    assert max(watched.values(f"max_over_time({status}[10s])")) == 0
    assert watched.quiet("DeeprigPcieSpeedBelowExpected")


def test_speed_under_load(watched: Watched, fault: Fault) -> None:
    fault("load", "0")
    watched.until(f"{SPEED} == 8e9")
    watched.verdict("pcie-speed", "ok", GPU)
    fault("link", "0 1x4")  # it trained at Gen1, and stays there though the GPU works
    watched.until(f"{SPEED} == 2.5e9")
    assert "under load" in watched.verdict("pcie-speed", "critical", GPU)["reading"]
    watched.alert("DeeprigPcieSpeedBelowExpected", address=GPU)
    # At idle again, what was seen under load still holds.
    faults.switch(watched.rig, "load", on=False, argument="0")
    watched.until(
        f'deeprig_gpu_performance_state * on(uuid) deeprig_gpu_info{{address="{GPU}"}} == 8'
    )
    assert "when it last worked" in watched.verdict("pcie-speed", "critical", GPU)["reading"]


def test_flapping_link(watched: Watched, fault: Fault) -> None:
    changes = f'deeprig_pcie_link_changes_total{{address="{GPU}"}}'
    for _ in range(6):
        fault("link", "0 3x1")
        watched.until(f"{WIDTH} == 1")
        faults.switch(watched.rig, "link", on=False, argument="0")
        watched.until(f"{WIDTH} == 4")
    assert watched.values(changes)[0] >= 12
    assert watched.verdict("pcie-flapping", "critical", GPU)
    watched.alert("DeeprigPcieLinkFlapping", address=PORT)


def test_error_storm_at_the_root_port(watched: Watched, fault: Fault) -> None:
    errors = f'deeprig_pcie_aer_errors_total{{address="{PORT}",severity="correctable"}}'
    for count in (0, 20_000, 40_000):
        fault("aer", f"0 {count} correctable")
        watched.until(f"{errors} == {count}")
    verdict = watched.verdict("pcie-errors", "critical", GPU)
    assert verdict["reading"].startswith("40000 corrected")
    watched.alert("DeeprigPcieCorrectedErrors", address=PORT)
    # The alert names the GPU of the port.
    (alert,) = [
        alert
        for alert in watched.server.api("alerts")["alerts"]
        if alert["labels"]["alertname"] == "DeeprigPcieCorrectedErrors"
        and alert["labels"]["address"] == PORT
    ]
    assert f"GPUs below it: {GPU}." in alert["annotations"]["description"]
    fault("aer", "0 3 fatal")
    watched.until(f"{errors.replace('correctable', 'fatal')} == 3")
    assert "3 fatal" in watched.verdict("pcie-errors", "critical", GPU)["reading"]
    watched.alert("DeeprigPcieUncorrectedErrors", address=PORT)


def test_a_card_is_missing_after_a_reboot(watched: Watched, fault: Fault) -> None:
    fault("missing", "0")
    reboot(watched.rig)
    watched.until('deeprig_gpus_found{by="bus"} == 2')
    assert watched.values("deeprig_gpus_expected") == [3]
    verdict = watched.verdict("gpu-count", "critical")
    assert verdict["reading"] == "2 on the bus, 2 answering"
    watched.alert("DeeprigGpusMissing")
    faults.switch(watched.rig, "missing", on=False, argument="0")
    reboot(watched.rig)
    watched.until('deeprig_gpus_found{by="bus"} == 3')
