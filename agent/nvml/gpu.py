"""Reads a GPU through NVML (nvidia-ml-py) into the fields of readings.nvml.GpuReading.

A value that this card, driver or library does not offer is None, never 0: a symbol can be missing
(an older library), not supported (a GeForce), or fail alone. Only an error that means that the GPU
or the driver is gone fails the whole reading. NVIDIA's NVML reference documents the calls. Units
are converted to base units here and nowhere else.

The module imports little: it runs in the separate process, whose memory counts as the agent's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

#: Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h: nvmlClocksEventReason…).
CLOCKS_EVENTS = {
    "gpu_idle": 0x1,
    "applications_clocks": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "hw_power_brake": 0x80,
    "display_clocks": 0x100,
}
#: Clock domains: nvmlClockType_t.
CLOCKS = {"graphics": 0, "sm": 1, "memory": 2, "video": 3}
#: nvmlTemperatureThresholds_t.
TEMPERATURE_LIMITS = {
    "shutdown": 0,
    "slowdown": 1,
    "memory_max": 2,
    "max_operating": 3,
    "acoustic": 5,
}
#: Field ids of nvmlDeviceGetFieldValues (nvml.h: NVML_FI_DEV_…).
FIELD_MEMORY_TEMPERATURE = 82
FIELD_RECOVERY_ACTION = 230
PCIE_ERROR_FIELDS = {
    "replay_rollover": 95,
    "l0_to_recovery": 169,
    "correctable": 173,
    "nak_received": 174,
    "receiver": 175,
    "bad_tlp": 176,
    "nak_sent": 177,
    "bad_dllp": 178,
    "nonfatal": 179,
    "fatal": 180,
    "unsupported_request": 181,
    "lcrc": 182,
    "lane": 183,
}
#: Traffic since the driver was loaded, in bytes; the counters may wrap.
PCIE_BYTE_FIELDS = {"transmit": 197, "receive": 198}
NVLINKS_MOST = 18  # NVML_NVLINK_MAX_LINKS; a 3090 has four
#: In nanoseconds since the driver was loaded.
THROTTLE_FIELDS = {"sw_thermal": 269, "hw_thermal": 270, "hw_power_brake": 271, "sw_power_cap": 74}
#: The older call, deprecated until CUDA 14: nvmlPerfPolicyType_t.
THROTTLE_POLICIES = {"sw_power_cap": 0, "sw_thermal": 1}
#: nvmlFieldValue_t.valueType -> the union's member.
VALUE_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}
FIELDS = (
    FIELD_MEMORY_TEMPERATURE,
    FIELD_RECOVERY_ACTION,
    *PCIE_ERROR_FIELDS.values(),
    *PCIE_BYTE_FIELDS.values(),
    *THROTTLE_FIELDS.values(),
)
ECC_ERRORS = {"corrected": 0, "uncorrected": 1}  # nvmlMemoryErrorType_t
VOLATILE = 0  # nvmlEccCounterType_t: since the driver was loaded


class GpuLostError(Exception):
    """NVML no longer answers for the GPU or the driver. code: NVML's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class GpuReader:
    """Reads one GPU repeatedly; values that never change are read once.

    nvml: the module pynvml, initialised. Every method and the constructor raise GpuLostError.
    """

    def __init__(self, nvml: Any, address: str, *, throughput: bool = False) -> None:
        self.nvml = nvml
        self.throughput = throughput
        self._without: set[tuple[Any, ...]] = (
            set()
        )  # calls that this card or library does not support
        self._fields = tuple((number, 0) for number in FIELDS)  # with their scope
        # Errors after which the GPU cannot be read any more.
        self._fatal = {
            nvml.NVML_ERROR_GPU_IS_LOST,
            nvml.NVML_ERROR_UNINITIALIZED,
            nvml.NVML_ERROR_DRIVER_NOT_LOADED,
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            nvml.NVML_ERROR_IRQ_ISSUE,
            nvml.NVML_ERROR_RESET_REQUIRED,
        }
        self._never = {
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        }
        # Not an NVMLError: the library is older than a call's structures.
        self._mismatch = getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError)
        try:
            self.handle = nvml.nvmlDeviceGetHandleByPciBusId(address)
            # A reading needs these.
            identity = {
                "uuid": as_text(nvml.nvmlDeviceGetUUID(self.handle)),
                "index": nvml.nvmlDeviceGetIndex(self.handle),
                "name": as_text(nvml.nvmlDeviceGetName(self.handle)),
                "address": address,
            }
        except nvml.NVMLError as error:
            raise GpuLostError(error.value, str(error)) from None
        self._constant: dict[str, Any] = identity | self._read_constant()

    def read(self) -> dict[str, Any]:
        """Return the current fields of a GpuReading."""
        memory = self._read_memory()
        used = self._call("nvmlDeviceGetUtilizationRates")
        bar1 = self._call("nvmlDeviceGetBAR1MemoryInfo")
        values = self._read_field_values()
        rows = self._call("nvmlDeviceGetRemappedRows")
        persistence = self._call("nvmlDeviceGetPersistenceMode")
        return {
            **self._constant,
            **memory,
            "temperature_celsius": self._read_temperature(),
            "memory_temperature_celsius": values.get(FIELD_MEMORY_TEMPERATURE),
            "power_watts": scale(self._call("nvmlDeviceGetPowerUsage"), 1e-3),
            "power_limit_watts": scale(self._read_power_limit(), 1e-3),
            "energy_joules": scale(self._call("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
            "utilization_ratio": used and used.gpu / 100,
            "memory_utilization_ratio": used and used.memory / 100,
            "bar1_used_bytes": bar1 and bar1.bar1Used,
            "clocks_hertz": self._read_clocks("nvmlDeviceGetClockInfo"),
            "performance_state": read_state(self._call("nvmlDeviceGetPerformanceState")),
            "fan_speed_ratio": self._read_fans(),
            "persistence_mode": None if persistence is None else bool(persistence),
            "clocks_events": self._read_clocks_events(),
            "throttled_seconds": self._read_throttled(values),
            "pcie_width": self._call("nvmlDeviceGetCurrPcieLinkWidth"),
            "pcie_generation": self._call("nvmlDeviceGetCurrPcieLinkGeneration"),
            "pcie_replays": self._call("nvmlDeviceGetPcieReplayCounter"),
            "pcie_errors": pick_fields(values, PCIE_ERROR_FIELDS),
            "pcie_bytes": pick_fields(values, PCIE_BYTE_FIELDS),
            "pcie_throughput": self._read_throughput() if self.throughput else None,
            "ecc_errors": self._call_for_each("nvmlDeviceGetTotalEccErrors", ECC_ERRORS, VOLATILE),
            "remapped_rows": rows and {"correctable": rows[0], "uncorrectable": rows[1]},
            "row_remap_pending": rows and bool(rows[2]),
            "row_remap_failed": rows and bool(rows[3]),
            "recovery_action": values.get(FIELD_RECOVERY_ACTION),
            "processes": self._read_processes(),
        }

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call NVML; None if it has no answer. A call that is never supported is not repeated."""
        call = (name, *arguments)
        function: Callable[..., Any] | None = getattr(self.nvml, name, None)
        if function is None or call in self._without:  # an older nvidia-ml-py
            return None
        try:
            return function(self.handle, *arguments)
        except self.nvml.NVMLError as error:
            if error.value in self._fatal:
                raise GpuLostError(error.value, str(error)) from None
            if error.value in self._never:
                self._without.add(call)
            return None
        except self._mismatch:
            self._without.add(call)
            return None

    def _read_constant(self) -> dict[str, Any]:
        vbios = self._call("nvmlDeviceGetVbiosVersion")
        default = self._call("nvmlDeviceGetPowerManagementDefaultLimit")
        bar1 = self._call("nvmlDeviceGetBAR1MemoryInfo")
        return {
            "vbios_version": vbios and as_text(vbios),
            "temperature_limits_celsius": self._call_for_each(
                "nvmlDeviceGetTemperatureThreshold", TEMPERATURE_LIMITS
            ),
            "power_default_limit_watts": scale(default, 1e-3),
            "bar1_size_bytes": bar1 and bar1.bar1Total,
            "max_clocks_hertz": self._read_clocks("nvmlDeviceGetMaxClockInfo"),
            "pcie_max_width": self._call("nvmlDeviceGetMaxPcieLinkWidth"),
            "pcie_max_generation": self._call("nvmlDeviceGetMaxPcieLinkGeneration"),
            "pcie_own_max_generation": self._call("nvmlDeviceGetGpuMaxPcieLinkGeneration"),
            "nvlinks_active": self._read_nvlinks(),
        }

    def _call_for_each(
        self, name: str, keys: Mapping[str, int], *more: Any
    ) -> dict[str, Any] | None:
        """Call once for each key; return the answers by key, None without any."""
        answers = {key: self._call(name, number, *more) for key, number in keys.items()}
        return {key: value for key, value in answers.items() if value is not None} or None

    def _read_memory(self) -> dict[str, int]:
        """Read the sizes; version 2 separates the driver's part from what programs use."""
        version = getattr(self.nvml, "nvmlMemory_v2", None)
        memory = None if version is None else self._call("nvmlDeviceGetMemoryInfo", version)
        if memory is None:
            memory = self._call("nvmlDeviceGetMemoryInfo")
        if memory is None:
            return {}
        sizes = {"size": memory.total, "used": memory.used, "free": memory.free}
        reserved = getattr(memory, "reserved", None)
        if reserved is not None:
            sizes["reserved"] = reserved
        return {f"memory_{name}_bytes": value for name, value in sizes.items()}

    def _read_temperature(self) -> float | None:
        value = self._call("nvmlDeviceGetTemperatureV", 0)
        if value is None:
            value = self._call("nvmlDeviceGetTemperature", 0)
        return None if value is None else float(value)

    def _read_power_limit(self) -> int | None:
        limit: int | None = self._call("nvmlDeviceGetEnforcedPowerLimit")
        return self._call("nvmlDeviceGetPowerManagementLimit") if limit is None else limit

    def _read_clocks(self, name: str) -> dict[str, float] | None:
        clocks = self._call_for_each(name, CLOCKS)
        return clocks and {key: value * 1e6 for key, value in clocks.items()}

    def _read_fans(self) -> dict[str, float] | None:
        numbers = range(self._call("nvmlDeviceGetNumFans") or 0)
        speeds = self._call_for_each("nvmlDeviceGetFanSpeed_v2", {str(fan): fan for fan in numbers})
        if speeds is None:  # an older library has one speed for all fans
            speed = self._call("nvmlDeviceGetFanSpeed")
            speeds = None if speed is None else {"0": speed}
        return speeds and {fan: speed / 100 for fan, speed in speeds.items()}

    def _read_clocks_events(self) -> dict[str, bool] | None:
        bits = self._call("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._call("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            return None
        return {name: bool(bits & bit) for name, bit in CLOCKS_EVENTS.items()}

    def _read_field_values(self) -> dict[int, float]:
        """Return the fields that were read; each entry has its result and its type."""
        entries = self._call("nvmlDeviceGetFieldValues", self._fields) if self._fields else None
        values = {}
        for entry in entries or ():
            member = VALUE_MEMBERS.get(entry.valueType)
            if entry.nvmlReturn == 0 and member is not None:
                values[entry.fieldId] = getattr(entry.value, member)
            elif entry.nvmlReturn in self._never:  # do not request it again
                self._fields = tuple(pair for pair in self._fields if pair[0] != entry.fieldId)
        return values

    def _read_throttled(self, values: Mapping[int, float]) -> dict[str, float] | None:
        times = pick_fields(values, THROTTLE_FIELDS) or {}
        for name, policy in THROTTLE_POLICIES.items():
            if name not in times:
                violation = self._call("nvmlDeviceGetViolationStatus", policy)
                if violation is not None:
                    times[name] = violation.violationTime
        return {name: value * 1e-9 for name, value in times.items()} or None

    def _read_nvlinks(self) -> int | None:
        """Count the links to other cards; bridges are plugged in while the power is off."""
        states = self._call_for_each(
            "nvmlDeviceGetNvLinkState", {str(n): n for n in range(NVLINKS_MOST)}
        )
        return None if states is None else sum(bool(state) for state in states.values())

    def _read_throughput(self) -> dict[str, float] | None:
        """Measure bytes per second; each direction takes a window of 20 ms."""
        kilobytes = self._call_for_each(
            "nvmlDeviceGetPcieThroughput", {"transmit": 0, "receive": 1}
        )
        return kilobytes and {key: value * 1e3 for key, value in kilobytes.items()}

    def _read_processes(self) -> dict[str, int] | None:
        names = {
            "compute": "nvmlDeviceGetComputeRunningProcesses",
            "graphics": "nvmlDeviceGetGraphicsRunningProcesses",
        }
        lists = {context: self._call(name) for context, name in names.items()}
        return {
            context: len(listed) for context, listed in lists.items() if listed is not None
        } or None


def as_text(value: str | bytes) -> str:
    """Return text; older versions of pynvml return bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def scale(value: float | None, factor: float) -> float | None:
    """Return the value in a base unit, rounded so that 280000 mW is 280 W."""
    return None if value is None else round(value * factor, 6)


def read_state(state: int | None) -> int | None:
    """Return a performance state; NVML uses 32 for an unknown one."""
    return state if state is not None and state < 32 else None


def pick_fields(values: Mapping[int, float], names: Mapping[str, int]) -> dict[str, float] | None:
    """Return those of the fields that were read, by name."""
    return {name: values[number] for name, number in names.items() if number in values} or None
