"""The readings of a GPU: every field, and what an older library or another card lacks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pynvml
import pytest
import yaml

from agent.nvml.gpu import FIELDS, GpuLostError, GpuReader
from agent.readings.nvml import READING_FIELDS, GpuReading
from lab.simulate import compile as nvml
from lab.simulate.control import HW_THERMAL, POWER_CAP, SW_THERMAL
from lab.simulate.simulated_rig import CUDA, VERSION, SimulatedRig
from tests.unit.agent.simulated.conftest import Start
from tests.unit.agent.web.server import wait_for

CASES = Path(__file__).parent / "cases"
READING: dict[str, Any] = yaml.safe_load((CASES / "reading.yml").read_text())
SYMBOLS = yaml.safe_load((CASES / "symbols.yml").read_text())
THIRD = "0000:08:00.0"


def read_third_gpu(
    rig: SimulatedRig, start: Start, peers: int = 2, **settings: Any
) -> dict[str, Any]:
    """Return the third GPU's fields as soon as its peers are known."""
    process = start(**settings)

    def reading() -> GpuReading | None:
        poll = process.poll([gpu.address for gpu in rig.gpus], 10)
        gpu_reading = poll.gpus[THIRD].reading
        assert gpu_reading, poll
        return gpu_reading if len(gpu_reading.peer_access or ()) == peers else None

    return asdict(wait_for(reading, f"{peers} peers"))


def test_every_field_is_read(rig: SimulatedRig, start: Start) -> None:
    assert set(READING) | {"energy_joules", "pcie_bytes"} == READING_FIELDS
    rig.set(2, load=True)
    fields = read_third_gpu(rig, start, throughput=True)
    assert fields.pop("energy_joules") > 0
    assert min(fields.pop("pcie_bytes").values()) > 0
    assert fields == READING


def test_throughput_is_read_only_when_wanted(rig: SimulatedRig, start: Start) -> None:
    assert read_third_gpu(rig, start)["pcie_throughput"] is None


@pytest.mark.parametrize(
    ("reasons", "named"),
    [
        (POWER_CAP, {"sw_power_cap"}),
        (SW_THERMAL | HW_THERMAL, {"sw_thermal", "hw_thermal"}),
    ],
)
def test_throttle_reasons_and_durations_are_named(
    rig: SimulatedRig, start: Start, reasons: int, named: set[str]
) -> None:
    rig.set(2, load=True, reasons=reasons)
    fields = read_third_gpu(rig, start)
    assert {name for name, on in fields["clocks_events"].items() if on} == named
    assert {name for name, seconds in fields["throttled_seconds"].items() if seconds} == named


@pytest.mark.parametrize("case", SYMBOLS, ids=lambda case: " ".join(case["without"])[:80])
def test_values_missing_in_an_older_library_are_none(
    case: Any, rig: SimulatedRig, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing value is None, never 0; the others do not change."""
    script = tmp_path / "symbols.map"
    script.write_text(f"{{ local: {'; '.join(case['without'])}; }};")
    monkeypatch.setattr(nvml, "FLAGS", (*nvml.FLAGS, f"-Wl,--version-script={script}", "-O0"))
    nvml.build_library(rig.library / f"libnvidia-ml.so.{VERSION}", VERSION, CUDA)
    rig.set(2, load=True)
    peers = 0 if "nvmlDeviceGetP2PStatus" in case["without"] else 2
    fields = read_third_gpu(rig, start, peers, throughput=True)
    absent = set(case.get("null_", ()))
    assert {name for name in absent if fields[name] is not None} == set()
    changing = {"throttled_seconds", "pcie_throughput", "peer_access", "peer_topology"}
    same = READING.keys() - absent - changing
    wanted = READING | case.get("other", {})
    assert {name: fields[name] for name in same} == {name: wanted[name] for name in same}
    for name in case.get("still", ()):
        assert fields[name], name


class StandIn:
    """pynvml over a card that has nothing but its name; `answers` are the values that it has.

    An answer is a value, or the number of an NVML error.
    """

    def __init__(self, otherwise: int, **answers: Any) -> None:
        self.otherwise, self.answers = otherwise, answers
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDevice"):
            return getattr(pynvml, name)

        def call(handle: Any, *arguments: Any) -> Any:
            self.calls[name] += 1
            answer = self.answers.get(name, pynvml.NVMLError(self.otherwise))
            if isinstance(answer, pynvml.NVMLError):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call


IDENTITY = {
    "nvmlDeviceGetHandleByPciBusId": object(),
    "nvmlDeviceGetUUID": b"GPU-1",
    "nvmlDeviceGetIndex": 0,
    "nvmlDeviceGetName": b"Tesla K\xff",
}
NEVER = (
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_PERMISSION,
)


@pytest.mark.parametrize("code", NEVER)
def test_unsupported_values_are_none_and_read_once(code: int) -> None:
    """Every field is None or left out, and is read only once."""
    card = StandIn(code, **IDENTITY)
    reader = GpuReader(card, "0000:01:00.0", throughput=True)
    first = reader.read()
    assert {name: value for name, value in first.items() if value is not None} == {
        "uuid": "GPU-1",
        "index": 0,
        "name": "Tesla K\ufffd",
        "address": "0000:01:00.0",
    }
    before = card.calls.copy()
    assert reader.read() == first
    assert card.calls - before == Counter()


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_TIMEOUT])
def test_value_that_failed_once_is_read_again(code: int) -> None:
    card = StandIn(code, **IDENTITY)
    reader = GpuReader(card, "0000:01:00.0", throughput=True)
    assert reader.read()["power_watts"] is None
    card.answers |= {
        "nvmlDeviceGetPowerUsage": 280_000,
        "nvmlDeviceGetTemperatureV": lambda sensor: 40,
        "nvmlDeviceGetClockInfo": lambda domain: 100,
        "nvmlDeviceGetTotalEccErrors": lambda kind, counter: kind,
        "nvmlDeviceGetPcieThroughput": lambda direction: 5,
    }
    fields = reader.read()
    assert fields["power_watts"] == 280
    assert fields["temperature_celsius"] == 40
    assert set(fields["clocks_hertz"].values()) == {1e8}
    assert fields["ecc_errors"] == {"corrected": 0, "uncorrected": 1}
    assert fields["pcie_throughput"] == {"transmit": 5e3, "receive": 5e3}


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        pynvml.NVML_ERROR_RESET_REQUIRED,
    ],
)
def test_lost_gpu_raises_an_error(code: int) -> None:
    card = StandIn(pynvml.NVML_ERROR_NOT_SUPPORTED, **IDENTITY)
    reader = GpuReader(card, "0000:01:00.0")
    card.answers["nvmlDeviceGetFanSpeed"] = pynvml.NVMLError(code)
    with pytest.raises(GpuLostError) as caught:
        reader.read()
    assert caught.value.code == code
    for name in IDENTITY:
        with pytest.raises(GpuLostError):
            GpuReader(StandIn(0, **IDENTITY | {name: pynvml.NVMLError(code)}), "0000:01:00.0")


def test_field_values_are_handled_individually() -> None:
    """Each field has a result and a type; an unsupported one is read only once."""
    asked: list[list[int]] = []

    def fields(pairs: Any) -> Any:
        asked.append([number for number, _ in pairs])
        values = (pynvml.c_nvmlFieldValue_t * len(pairs))()
        for entry, (number, _) in zip(values, pairs, strict=True):
            entry.fieldId, entry.valueType = number, 1
            entry.value.uiVal = number
            if number == 82:
                entry.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
            elif number == 95:
                entry.nvmlReturn = pynvml.NVML_ERROR_UNKNOWN
            elif number == 230:
                entry.valueType = 99  # of a later library
            elif number == 74:
                entry.valueType, entry.value.ullVal = 3, 2_500_000_000
            elif number == 169:
                entry.valueType, entry.value.dVal = 0, 1.5
        return values

    card = StandIn(pynvml.NVML_ERROR_NOT_SUPPORTED, **IDENTITY, nvmlDeviceGetFieldValues=fields)
    reader = GpuReader(card, "0000:01:00.0")
    for _ in range(2):
        reading = reader.read()
        assert reading["memory_temperature_celsius"] is None
        assert reading["recovery_action"] is None
        assert "replay_rollover" not in reading["pcie_errors"]
        assert reading["pcie_errors"]["l0_to_recovery"] == 1.5
        assert reading["pcie_errors"]["lane"] == 183
        assert math.isclose(reading["throttled_seconds"]["sw_power_cap"], 2.5)
    assert asked[0] == list(FIELDS)
    assert asked[1] == [number for number in FIELDS if number != 82]


@pytest.mark.parametrize(("state", "reported"), [(0, 0), (15, 15), (32, None)])
def test_an_unknown_performance_state_is_none(state: int, reported: int | None) -> None:
    card = StandIn(pynvml.NVML_ERROR_NOT_SUPPORTED, **IDENTITY, nvmlDeviceGetPerformanceState=state)
    assert GpuReader(card, "0000:01:00.0").read()["performance_state"] == reported


def test_function_missing_in_an_older_pynvml_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    card = StandIn(pynvml.NVML_ERROR_NOT_SUPPORTED, **IDENTITY)

    class Older:
        def __getattr__(self, name: str) -> Any:
            if name in ("nvmlDeviceGetTemperatureV", "nvmlMemory_v2"):
                raise AttributeError(name)
            return getattr(card, name)

    assert GpuReader(Older(), "0000:01:00.0").read()["temperature_celsius"] is None
    card.answers["nvmlDeviceGetTemperature"] = lambda sensor: 41
    assert GpuReader(Older(), "0000:01:00.0").read()["temperature_celsius"] == 41
