"""The machine around the GPUs, and results of benchmark runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import UNIT, MonitoredRig

Fault = Callable[..., None]
STATE = "/var/lib/deeprig"


def write_result_file(monitored_rig: MonitoredRig, name: str, content: str) -> None:
    """Write a file to the results as a run does: a temporary file, then a rename."""
    path = f"{STATE}/nccl/{name}"
    quoted = shlex.quote(content)
    monitored_rig.rig.run(f"printf %s {quoted} >{path}.new && mv {path}.new {path}")


@pytest.fixture(autouse=True)
def no_results(monitored_rig: MonitoredRig) -> Iterator[None]:
    monitored_rig.until("sum(deeprig_gpu_up) == 3")
    yield
    monitored_rig.rig.run(f"rm -rf {STATE}/nccl/*")


def make_result(monitored_rig: MonitoredRig, bandwidth: float, wrong: int = 0) -> str:
    gpus = [gpu["address"] for gpu in monitored_rig.get("/api/v1/rig")["gpus"]]
    measured = {"time_seconds": 0.001, "wrong_values": wrong}
    sizes = [
        {"size_bytes": 8, **measured, "bus_bandwidth_bytes_per_second": 1e3},
        {"size_bytes": 1 << 28, **measured, "bus_bandwidth_bytes_per_second": bandwidth},
    ]
    return json.dumps(
        {
            "format": "deeprig-collectives",
            "version": 1,
            "backend": "nccl",
            "nccl_version": "2.29.7",
            "ranks": 3,
            "gpus": gpus,
            "finished_at": time.time(),
            "collectives": [{"collective": "all_reduce", "sizes": sizes}],
        }
    )


def test_nccl_result_file_is_exported(monitored_rig: MonitoredRig) -> None:
    measured = "deeprig_nccl_bus_bandwidth_bytes_per_second"
    write_result_file(monitored_rig, "run1.json", make_result(monitored_rig, 0.3e9))
    series = monitored_rig.until(measured)
    assert series[0]["metric"]["collective"] == "all_reduce"
    expected = monitored_rig.values("deeprig_nccl_bus_bandwidth_expected_bytes_per_second")
    slowest = monitored_rig.values(
        "min(deeprig_pcie_path_width_lanes * deeprig_pcie_path_max_speed_transfers_per_second)"
    )
    assert expected[0] == pytest.approx(
        slowest[0] * 0.075 if slowest[0] < 8e9 else slowest[0] * 0.09375
    )
    write_result_file(
        monitored_rig, "run2.json", make_result(monitored_rig, expected[0] * 0.3, wrong=4)
    )
    monitored_rig.until(f"{measured} == {expected[0] * 0.3!r}")
    assert monitored_rig.verdict("nccl-bandwidth", "critical")["subject"] == "all_reduce nccl 3"
    monitored_rig.alert("DeeprigNcclBandwidthLow")
    assert monitored_rig.verdict("nccl-values", "critical")["reading"] == "8 wrong"
    monitored_rig.alert("DeeprigNcclWrongValues")


def test_invalid_result_files_are_ignored_and_counted(monitored_rig: MonitoredRig) -> None:
    write_result_file(monitored_rig, "good.json", make_result(monitored_rig, 0.3e9))
    write_result_file(monitored_rig, "torn.json", '{"format": "deeprig-coll')
    write_result_file(
        monitored_rig, "later.json", '{"format": "deeprig-collectives", "version": 99}'
    )
    monitored_rig.rig.run(
        f"head -c 100k /dev/urandom >{STATE}/nccl/noise.json; mkdir {STATE}/nccl/folder.json"
    )
    monitored_rig.until('deeprig_nccl_result_files{state="ignored"} == 4')
    assert monitored_rig.values('deeprig_nccl_result_files{state="read"}') == [1]
    verdict = monitored_rig.verdict("nccl-results", "warning")
    assert "and 3 more" in verdict["reading"]
    assert monitored_rig.values("count(deeprig_nccl_bus_bandwidth_bytes_per_second)") == [1]


def test_full_state_directory_is_critical(monitored_rig: MonitoredRig, fault: Fault) -> None:
    fault("disk-full", STATE)
    monitored_rig.rig.run(f"systemctl restart {UNIT}")  # a full disk does not keep it from starting
    monitored_rig.until(f'deeprig_host_disk_free_bytes{{folder="{STATE}"}} < 1e5')
    verdict = monitored_rig.verdict("disk-space", "critical")
    assert f"free in {STATE}" in verdict["reading"]
    monitored_rig.alert("DeeprigDiskSpaceLow")
    assert monitored_rig.values("sum(deeprig_gpu_up)") == [3]
    faults.switch(monitored_rig.rig, "disk-full", on=False, argument=STATE)
    monitored_rig.verdict("disk-space", "ok")


FAKED = f"/run/systemd/system/{UNIT}.d/clock.conf"


def test_clock_jump_is_a_warning(monitored_rig: MonitoredRig) -> None:
    """A container can't set its clock; faketime sets it for one process, by a file."""
    rig = monitored_rig.rig
    rig.run("apt-get install -qy --no-install-recommends faketime")
    library = rig.run("dpkg -L libfaketime | grep libfaketime.so").stdout.strip()
    rig.run(
        f"mkdir -p {FAKED.rpartition('/')[0]}; echo +0 >/opt/clock; printf '%s\\n' '[Service]' "
        f"Environment=LD_PRELOAD={library} Environment=FAKETIME_TIMESTAMP_FILE=/opt/clock "
        "Environment=FAKETIME_CACHE_DURATION=1 Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 "
        f">{FAKED}; "
        f"systemctl daemon-reload; systemctl restart {UNIT}"
    )
    try:
        monitored_rig.until('deeprig_verdict{check="clock",status="ok"} == 1')
        # Prometheus has its own clock, so the agent's timestamps show the jump.
        rig.run("echo +7200 >/opt/clock")
        monitored_rig.until("deeprig_agent_sample_timestamp_seconds - time() > 3000")
        assert "ahead by 2 h" in monitored_rig.verdict("clock", "warning")["reading"]
        rig.run("echo +0 >/opt/clock")
        monitored_rig.until("deeprig_agent_sample_timestamp_seconds - time() < 3000")
        assert "back by 2 h" in monitored_rig.verdict("clock", "warning")["reading"]
        hour = monitored_rig.get("/api/v1/history")["times"]
        assert hour == sorted(hour)
        assert monitored_rig.values("sum(deeprig_gpu_up)") == [3]
    finally:
        rig.run(f"rm {FAKED}; systemctl daemon-reload; systemctl restart {UNIT}")
