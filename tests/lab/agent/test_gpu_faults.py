"""What goes wrong with a GPU, as Prometheus and the verdicts then have it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import INTERVAL_SECONDS, Watched

Fault = Callable[..., None]
FIRST, SECOND, THIRD = "0000:04:00.0", "0000:06:00.0", "0000:08:00.0"


@pytest.fixture(autouse=True)
def healthy(watched: Watched) -> None:
    """Each test begins with three GPUs that answer."""
    watched.until("sum(deeprig_gpu_up) == 3")


def find_uuid(watched: Watched, address: str) -> str:
    series = watched.until(f'deeprig_gpu_info{{address="{address}"}}')
    return str(series[0]["metric"]["uuid"])


def is_fresh(watched: Watched, address: str) -> bool:
    """Whether NVML answered for the GPU within two intervals, as the agent serves it."""
    (gpu,) = [g for g in watched.get("/api/v1/rig")["gpus"] if g["address"] == address]
    return bool(gpu["up"]) and time.time() - gpu["read_at"] < 2 * INTERVAL_SECONDS


def test_lost(watched: Watched, fault: Fault) -> None:
    gone = find_uuid(watched, SECOND)
    fault("lost", "1")
    watched.until(f'deeprig_gpu_up{{address="{SECOND}"}} == 0')
    verdict = watched.verdict("gpu-answers", "critical", SECOND)
    assert verdict["reading"] == "fell off the bus"
    assert "riser" in verdict["advice"]
    watched.alert("DeeprigGpuNotAnswering", address=SECOND)
    watched.until(f'absent(deeprig_gpu_temperature_celsius{{uuid="{gone}"}})')
    assert watched.values("count(deeprig_gpu_temperature_celsius)") == [2]
    # Its link is not read as 63 lanes, nor as none.
    watched.until(f'absent(deeprig_pcie_path_width_lanes{{address="{SECOND}"}})')
    # The driver also reported it by an Xid.
    watched.until(f'deeprig_gpu_xid_errors_total{{address="{SECOND}",xid="79"}} > 0')
    assert watched.verdict("gpu-xid", "critical", SECOND)["reading"].startswith("Xid 79")
    faults.switch(watched.rig, "lost", on=False, argument="1")
    watched.until(f'deeprig_gpu_temperature_celsius{{uuid="{gone}"}}')


def test_hung_for_ever(watched: Watched, fault: Fault) -> None:
    gone = find_uuid(watched, SECOND)
    restarts = watched.values("deeprig_agent_reader_restarts_total")
    fault("hang", "1")
    began = time.monotonic()
    watched.until(f'deeprig_gpu_up{{address="{SECOND}"}} == 0')
    watched.until(f'absent(deeprig_gpu_temperature_celsius{{uuid="{gone}"}})')
    while time.monotonic() - began < 8:  # for long enough to see what "for ever" does
        assert is_fresh(watched, FIRST)
        assert is_fresh(watched, THIRD)
        time.sleep(0.2)
    assert watched.verdict("gpu-answers", "critical", SECOND)["reading"] == "a call hangs"
    assert watched.verdict("driver", "ok")
    # The two others answer, so the reader is not replaced.
    assert watched.values("deeprig_agent_reader_restarts_total") == restarts
    faults.switch(watched.rig, "hang", on=False, argument="1")
    watched.until(f'deeprig_gpu_temperature_celsius{{uuid="{gone}"}}')


def test_all_hung(watched: Watched, fault: Fault) -> None:
    before = watched.values("deeprig_agent_reader_restarts_total")[0]
    child = watched.rig.run("pgrep -f agent.nvml.child").stdout.split()
    for gpu in range(3):
        fault("hang", str(gpu))
    watched.until('deeprig_driver_state{state="unresponsive"} == 1')
    watched.alert("DeeprigDriverNotOk")
    watched.until(f"deeprig_agent_reader_restarts_total > {before}")
    assert watched.rig.run("pgrep -f agent.nvml.child").stdout.split() != child
    assert watched.verdict("driver", "critical")["reading"].startswith("does not answer")
    # What does not come from NVML goes on.
    assert time.time() - watched.values("deeprig_agent_sample_timestamp_seconds")[0] < 5
    assert watched.values("count(deeprig_pcie_path_width_lanes)") == [3]
    for gpu in range(3):
        faults.switch(watched.rig, "hang", on=False, argument=str(gpu))
    watched.until("sum(deeprig_gpu_up) == 3")
    assert watched.verdict("driver", "ok")


@pytest.mark.parametrize(("code", "status"), [("79", "critical"), ("31", "warning")])
def test_xid(watched: Watched, fault: Fault, code: str, status: str) -> None:
    series = f'deeprig_gpu_xid_errors_total{{address="{FIRST}",xid="{code}"}}'
    before = watched.values(series)  # well known: it is there before it ever happened
    assert len(before) == 1
    for _ in range(2):  # the same one again is another one
        fault("xid", f"0 {code}")
        watched.until(f"{series} > {before[0]}")
        before = watched.values(series)
    watched.until(f'deeprig_gpu_xid_last_timestamp_seconds{{address="{FIRST}",xid="{code}"}}')
    alert = {"critical": "DeeprigXidCritical", "warning": "DeeprigXidWarning"}[status]
    watched.alert(alert, address=FIRST, xid=code)
    watched.until(f'deeprig_verdict{{check="gpu-xid",subject="{FIRST}",status="ok"}} == 0')


def test_heat(watched: Watched, fault: Fault) -> None:
    hot = find_uuid(watched, THIRD)
    fault("hot", "2")
    watched.until(f'deeprig_gpu_clocks_event_active{{uuid="{hot}",reason="hw_thermal"}} == 1')
    assert "hw_thermal" in watched.verdict("gpu-throttle-heat", "critical", THIRD)["reading"]
    assert watched.verdict("gpu-temperature", "critical", THIRD)["reading"] == "93 °C"
    watched.alert("DeeprigGpuThrottledByHeat")
    watched.until(f'increase(deeprig_gpu_throttled_seconds_total{{uuid="{hot}"}}[1m]) > 0')


def test_power(watched: Watched, fault: Fault) -> None:
    capped = find_uuid(watched, FIRST)
    fault("power-cap", "0")
    watched.until(f'deeprig_gpu_clocks_event_active{{uuid="{capped}",reason="sw_power_cap"}} == 1')
    verdict = watched.verdict("gpu-throttle-power", "warning", FIRST)
    assert verdict["reading"] == "at its limit of 280 W, 61% of the highest clock"
    watched.alert("DeeprigVerdictWarning", check="gpu-throttle-power")


def test_memory_full(watched: Watched, fault: Fault) -> None:
    full = find_uuid(watched, FIRST)
    fault("memory-full", "0")
    free = f'deeprig_gpu_memory_free_bytes{{uuid="{full}"}}'
    watched.until(f"{free} < 100e6")
    assert watched.verdict("gpu-memory", "warning", FIRST)["reading"] == "56 MiB free of 24 GiB"
    watched.alert("DeeprigGpuMemoryFull")
