"""GPU faults, as Prometheus and the verdicts report them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import INTERVAL_SECONDS, MonitoredRig

Fault = Callable[..., None]
FIRST, SECOND, THIRD = "0000:04:00.0", "0000:06:00.0", "0000:08:00.0"


@pytest.fixture(autouse=True)
def healthy(monitored_rig: MonitoredRig) -> None:
    """Each test begins with three GPUs that answer."""
    monitored_rig.until("sum(deeprig_gpu_up) == 3")


def find_uuid(monitored_rig: MonitoredRig, address: str) -> str:
    series = monitored_rig.until(f'deeprig_gpu_info{{address="{address}"}}')
    return str(series[0]["metric"]["uuid"])


def is_fresh(monitored_rig: MonitoredRig, address: str) -> bool:
    """Return whether NVML answered for the GPU within the last two intervals."""
    (gpu,) = [g for g in monitored_rig.get("/api/v1/rig")["gpus"] if g["address"] == address]
    return bool(gpu["up"]) and time.time() - gpu["read_at"] < 2 * INTERVAL_SECONDS


def test_lost_gpu_is_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    gone = find_uuid(monitored_rig, SECOND)
    fault("lost", "1")
    monitored_rig.until(f'deeprig_gpu_up{{address="{SECOND}"}} == 0')
    verdict = monitored_rig.verdict("gpu-answers", "critical", SECOND)
    assert verdict["reading"] == "fell off the bus"
    assert "riser" in verdict["advice"]
    monitored_rig.alert("DeeprigGpuNotAnswering", address=SECOND)
    monitored_rig.until(f'absent(deeprig_gpu_temperature_celsius{{uuid="{gone}"}})')
    assert monitored_rig.values("count(deeprig_gpu_temperature_celsius)") == [2]
    # Its link is not read as 63 lanes, nor as none.
    monitored_rig.until(f'absent(deeprig_pcie_path_width_lanes{{address="{SECOND}"}})')
    # The driver also reported it by an Xid.
    monitored_rig.until(f'deeprig_gpu_xid_errors_total{{address="{SECOND}",xid="79"}} > 0')
    assert monitored_rig.verdict("gpu-xid", "critical", SECOND)["reading"].startswith("Xid 79")
    faults.switch(monitored_rig.rig, "lost", on=False, argument="1")
    monitored_rig.until(f'deeprig_gpu_temperature_celsius{{uuid="{gone}"}}')


def test_hung_gpu_is_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    gone = find_uuid(monitored_rig, SECOND)
    restarts = monitored_rig.values("deeprig_agent_reader_restarts_total")
    fault("hang", "1")
    began = time.monotonic()
    monitored_rig.until(f'deeprig_gpu_up{{address="{SECOND}"}} == 0')
    monitored_rig.until(f'absent(deeprig_gpu_temperature_celsius{{uuid="{gone}"}})')
    while time.monotonic() - began < 8:  # for long enough to see what "for ever" does
        assert is_fresh(monitored_rig, FIRST)
        assert is_fresh(monitored_rig, THIRD)
        time.sleep(0.2)
    assert monitored_rig.verdict("gpu-answers", "critical", SECOND)["reading"] == "a call hangs"
    assert monitored_rig.verdict("driver", "ok")
    # The two others answer, so the reader is not replaced.
    assert monitored_rig.values("deeprig_agent_reader_restarts_total") == restarts
    faults.switch(monitored_rig.rig, "hang", on=False, argument="1")
    monitored_rig.until(f'deeprig_gpu_temperature_celsius{{uuid="{gone}"}}')


def test_driver_is_unresponsive_when_all_gpus_hang(
    monitored_rig: MonitoredRig, fault: Fault
) -> None:
    before = monitored_rig.values("deeprig_agent_reader_restarts_total")[0]
    child = monitored_rig.rig.run("pgrep -f agent.nvml.child").stdout.split()
    for gpu in range(3):
        fault("hang", str(gpu))
    monitored_rig.until('deeprig_driver_state{state="unresponsive"} == 1')
    monitored_rig.alert("DeeprigDriverNotOk")
    monitored_rig.until(f"deeprig_agent_reader_restarts_total > {before}")
    assert monitored_rig.rig.run("pgrep -f agent.nvml.child").stdout.split() != child
    assert monitored_rig.verdict("driver", "critical")["reading"].startswith("does not answer")
    # What does not come from NVML goes on.
    assert time.time() - monitored_rig.values("deeprig_agent_sample_timestamp_seconds")[0] < 5
    assert monitored_rig.values("count(deeprig_pcie_path_width_lanes)") == [3]
    for gpu in range(3):
        faults.switch(monitored_rig.rig, "hang", on=False, argument=str(gpu))
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    assert monitored_rig.verdict("driver", "ok")


@pytest.mark.parametrize(("code", "status"), [("79", "critical"), ("31", "warning")])
def test_xid_is_critical(monitored_rig: MonitoredRig, fault: Fault, code: str, status: str) -> None:
    series = f'deeprig_gpu_xid_errors_total{{address="{FIRST}",xid="{code}"}}'
    before = monitored_rig.values(series)  # well known: it is there before it ever happened
    assert len(before) == 1
    for _ in range(2):  # the same one again is another one
        fault("xid", f"0 {code}")
        monitored_rig.until(f"{series} > {before[0]}")
        before = monitored_rig.values(series)
    monitored_rig.until(f'deeprig_gpu_xid_last_timestamp_seconds{{address="{FIRST}",xid="{code}"}}')
    alert = {"critical": "DeeprigXidCritical", "warning": "DeeprigXidWarning"}[status]
    monitored_rig.alert(alert, address=FIRST, xid=code)
    monitored_rig.until(f'deeprig_verdict{{check="gpu-xid",subject="{FIRST}",status="ok"}} == 0')


def test_overheating_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    hot = find_uuid(monitored_rig, THIRD)
    fault("hot", "2")
    monitored_rig.until(f'deeprig_gpu_clocks_event_active{{uuid="{hot}",reason="hw_thermal"}} == 1')
    assert "hw_thermal" in monitored_rig.verdict("gpu-throttle-heat", "critical", THIRD)["reading"]
    assert monitored_rig.verdict("gpu-temperature", "critical", THIRD)["reading"] == "93 °C"
    monitored_rig.alert("DeeprigGpuThrottledByHeat")
    monitored_rig.until(f'increase(deeprig_gpu_throttled_seconds_total{{uuid="{hot}"}}[1m]) > 0')


def test_power_throttling_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    capped = find_uuid(monitored_rig, FIRST)
    fault("power-cap", "0")
    monitored_rig.until(
        f'deeprig_gpu_clocks_event_active{{uuid="{capped}",reason="sw_power_cap"}} == 1'
    )
    verdict = monitored_rig.verdict("gpu-throttle-power", "warning", FIRST)
    assert verdict["reading"] == "at its limit of 280 W, 61% of the highest clock"
    monitored_rig.alert("DeeprigVerdictWarning", check="gpu-throttle-power")


def test_full_gpu_memory_is_reported(monitored_rig: MonitoredRig, fault: Fault) -> None:
    full = find_uuid(monitored_rig, FIRST)
    fault("memory-full", "0")
    free = f'deeprig_gpu_memory_free_bytes{{uuid="{full}"}}'
    monitored_rig.until(f"{free} < 100e6")
    assert (
        monitored_rig.verdict("gpu-memory", "warning", FIRST)["reading"] == "56 MiB free of 24 GiB"
    )
    monitored_rig.alert("DeeprigGpuMemoryFull")
