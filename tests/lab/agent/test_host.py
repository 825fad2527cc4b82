"""The machine around the GPUs, and results of benchmark runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator

import pytest

from lab.simulate import faults
from tests.lab.agent.conftest import UNIT, Watched

Fault = Callable[..., None]
STATE = "/var/lib/deeprig"


def write_result_file(watched: Watched, name: str, content: str) -> None:
    """Leave a file among the results, as a run does: written, then renamed."""
    path = f"{STATE}/nccl/{name}"
    quoted = shlex.quote(content)
    watched.rig.run(f"printf %s {quoted} >{path}.new && mv {path}.new {path}")


@pytest.fixture(autouse=True)
def no_results(watched: Watched) -> Iterator[None]:
    watched.until("sum(deeprig_gpu_up) == 3")
    yield
    watched.rig.run(f"rm -rf {STATE}/nccl/*")


def make_result(watched: Watched, bandwidth: float, wrong: int = 0) -> str:
    gpus = [gpu["address"] for gpu in watched.get("/api/v1/rig")["gpus"]]
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


def test_nccl_results(watched: Watched) -> None:
    measured = "deeprig_nccl_bus_bandwidth_bytes_per_second"
    write_result_file(watched, "run1.json", make_result(watched, 0.3e9))
    series = watched.until(measured)
    assert series[0]["metric"]["collective"] == "all_reduce"
    expected = watched.values("deeprig_nccl_bus_bandwidth_expected_bytes_per_second")
    slowest = watched.values(
        "min(deeprig_pcie_path_width_lanes * deeprig_pcie_path_max_speed_transfers_per_second)"
    )
    assert expected[0] == pytest.approx(
        slowest[0] * 0.075 if slowest[0] < 8e9 else slowest[0] * 0.09375
    )
    write_result_file(watched, "run2.json", make_result(watched, expected[0] * 0.3, wrong=4))
    watched.until(f"{measured} == {expected[0] * 0.3!r}")
    assert watched.verdict("nccl-bandwidth", "critical")["subject"] == "all_reduce nccl 3"
    watched.alert("DeeprigNcclBandwidthLow")
    assert watched.verdict("nccl-values", "critical")["reading"] == "8 wrong"
    watched.alert("DeeprigNcclWrongValues")


def test_garbage_in_a_result_file(watched: Watched) -> None:
    write_result_file(watched, "good.json", make_result(watched, 0.3e9))
    write_result_file(watched, "torn.json", '{"format": "deeprig-coll')
    write_result_file(watched, "later.json", '{"format": "deeprig-collectives", "version": 99}')
    watched.rig.run(
        f"head -c 100k /dev/urandom >{STATE}/nccl/noise.json; mkdir {STATE}/nccl/folder.json"
    )
    watched.until('deeprig_nccl_result_files{state="ignored"} == 4')
    assert watched.values('deeprig_nccl_result_files{state="read"}') == [1]
    verdict = watched.verdict("nccl-results", "warning")
    assert "and 3 more" in verdict["reading"]
    assert watched.values("count(deeprig_nccl_bus_bandwidth_bytes_per_second)") == [1]


def test_state_directory_is_full(watched: Watched, fault: Fault) -> None:
    fault("disk-full", STATE)
    watched.rig.run(f"systemctl restart {UNIT}")  # a full disk does not keep it from starting
    watched.until(f'deeprig_host_disk_free_bytes{{folder="{STATE}"}} < 1e5')
    verdict = watched.verdict("disk-space", "critical")
    assert f"free in {STATE}" in verdict["reading"]
    watched.alert("DeeprigDiskSpaceLow")
    assert watched.values("sum(deeprig_gpu_up)") == [3]
    faults.switch(watched.rig, "disk-full", on=False, argument=STATE)
    watched.verdict("disk-space", "ok")


FAKED = f"/run/systemd/system/{UNIT}.d/clock.conf"


def test_clock_jump(watched: Watched) -> None:
    """A container can't set its clock; faketime sets it for one process, by a file."""
    rig = watched.rig
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
        watched.until('deeprig_verdict{check="clock",status="ok"} == 1')
        # Prometheus has its own clock, so the agent's timestamps show the jump.
        rig.run("echo +7200 >/opt/clock")
        watched.until("deeprig_agent_sample_timestamp_seconds - time() > 3000")
        assert "ahead by 2 h" in watched.verdict("clock", "warning")["reading"]
        rig.run("echo +0 >/opt/clock")
        watched.until("deeprig_agent_sample_timestamp_seconds - time() < 3000")
        assert "back by 2 h" in watched.verdict("clock", "warning")["reading"]
        hour = watched.get("/api/v1/history")["times"]
        assert hour == sorted(hour)
        assert watched.values("sum(deeprig_gpu_up)") == [3]
    finally:
        rig.run(f"rm {FAKED}; systemctl daemon-reload; systemctl restart {UNIT}")
