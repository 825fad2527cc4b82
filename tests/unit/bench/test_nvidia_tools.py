"""Results of NVIDIA's benchmarks, and their comparison with ours."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agent.bench import nvidia_tools
from agent.bench.errors import UnusableError

GPUS = ["0000:04:00.0", "0000:06:00.0"]
#: nccl-tests 2.19, src/util.cu: JSON_FILE_VERSION 3.
ALL_REDUCE: dict[str, Any] = {
    "version": 3,
    "args": ["all_reduce_perf"],
    "nccl_version": 22907,
    "results": [
        {
            "size": 67108864,
            "count": 16777216,
            "type": "float",
            "redop": "sum",
            "root": "    -1",
            "out_of_place": {"time": 11010.2, "alg_bw": 6.1, "bus_bw": 8.1, "nwrong": 0.0},
            "in_place": {"time": 11184.8, "alg_bw": 6.0, "bus_bw": 8.0, "nwrong": 2.0},
            "actual_iterations": 20,
        }
    ],
    "out_of_bounds": {"count": 0, "okay": "true"},
}
#: nvbandwidth 0.8, json_output.cpp: numbers as text.
NVBANDWIDTH: dict[str, Any] = {
    "nvbandwidth": {
        "version": "v0.8",
        "GPU Device list": ["0: …", "1: …"],
        "testcases": [
            {
                "name": "host_to_device_memcpy_ce",
                "status": "Passed",
                "sum": 18.6,
                "bandwidth_description": "memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)",
                "bandwidth_matrix": [["12.4", "6.2"]],
            },
            {
                "name": "device_to_host_memcpy_ce",
                "status": "Passed",
                "sum": 13.1,
                "bandwidth_matrix": [["13.1", "N/A"]],
            },
            {"name": "device_to_device_memcpy_read_ce", "status": "Waived"},
        ],
    }
}


def test_all_reduce_perf_json_is_parsed() -> None:
    assert nvidia_tools.parse_all_reduce(ALL_REDUCE) == {
        "version": "22907",
        "size_bytes": 67108864,
        "time_seconds": pytest.approx(0.0111848),
        "bus_bandwidth_bytes_per_second": 8e9,
        "wrong_values": 2,
    }


def test_wrong_values_in_place_and_out_of_place_are_added() -> None:
    document = copy.deepcopy(ALL_REDUCE)
    document["results"][0]["out_of_place"]["nwrong"] = 3.0
    assert nvidia_tools.parse_all_reduce(document)["wrong_values"] == 5


def test_unchecked_values_are_none() -> None:
    document = copy.deepcopy(ALL_REDUCE)
    document["results"][0]["in_place"]["nwrong"] = None
    document["results"][0]["out_of_place"]["nwrong"] = None
    assert nvidia_tools.parse_all_reduce(document)["wrong_values"] is None


@pytest.mark.parametrize("key", ["results", "nccl_version"])
def test_unknown_json_is_unusable(key: str) -> None:
    with pytest.raises(UnusableError, match="not in the format of nccl-tests"):
        nvidia_tools.parse_all_reduce(
            {name: value for name, value in ALL_REDUCE.items() if name != key}
        )
    with pytest.raises(UnusableError, match="not in the format of nccl-tests"):
        nvidia_tools.parse_all_reduce(ALL_REDUCE | {"results": []})


def test_nvbandwidth_json_is_parsed() -> None:
    version, transfers = nvidia_tools.parse_nvbandwidth(NVBANDWIDTH, GPUS)
    assert version == "v0.8"
    assert transfers == [
        {"gpu": GPUS[0], "direction": "host_to_device", "bandwidth_bytes_per_second": 12.4e9},
        {"gpu": GPUS[1], "direction": "host_to_device", "bandwidth_bytes_per_second": 6.2e9},
        {"gpu": GPUS[0], "direction": "device_to_host", "bandwidth_bytes_per_second": 13.1e9},
    ]


def test_gpus_without_addresses_are_numbered() -> None:
    _, transfers = nvidia_tools.parse_nvbandwidth(NVBANDWIDTH, [])
    assert {entry["gpu"] for entry in transfers} == {"0", "1"}


def test_nvbandwidth_error_is_unusable() -> None:
    with pytest.raises(UnusableError, match="no CUDA"):
        nvidia_tools.parse_nvbandwidth({"nvbandwidth": {"error": "no CUDA"}}, GPUS)
    with pytest.raises(UnusableError, match="no copies"):
        nvidia_tools.parse_nvbandwidth({"nvbandwidth": {"testcases": []}}, GPUS)


def test_bandwidths_are_compared() -> None:
    assert nvidia_tools.compare({"all_reduce": (8e9, 8.5e9)}) == (True, "")
    agrees, reason = nvidia_tools.compare({"all_reduce": (4e9, 8e9), "other": (1e9, 1e9)})
    assert (agrees, reason) == (False, "all_reduce: 8.00 GB/s, ours 4.00")
    assert nvidia_tools.compare({"all_reduce": (None, 8e9)})[0] is None


def test_nearest_all_reduce_size_is_selected() -> None:
    sizes = [
        {"size_bytes": size, "bus_bandwidth_bytes_per_second": float(size)} for size in (8, 64, 512)
    ]
    entry = {"collective": "all_reduce", "sizes": sizes}
    other = {"collective": "broadcast", "sizes": [{**sizes[0], "size_bytes": 100}]}
    assert nvidia_tools.find_nearest([other, entry], 100) == (64, 64.0)
    assert nvidia_tools.find_nearest([other], 100) == (100, None)
