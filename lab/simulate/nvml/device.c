/* What one GPU says of itself: names, memory, heat, power, clocks. */
#include "state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENTER(gpu) \
    do { nvmlReturn_t entered = enter(gpu); if (entered) return entered; } while (0)

/* The many calls that give one number of the control file. */
#define NUMBER(name, key) \
    EXPORT nvmlReturn_t name(nvmlDevice_t gpu, unsigned *value) \
    { ENTER(gpu); *value = number(gpu, key, 0); return NVML_SUCCESS; }
#define TEXT(name, key) \
    EXPORT nvmlReturn_t name(nvmlDevice_t gpu, char *value, unsigned size) \
    { ENTER(gpu); snprintf(value, size, "%s", text(gpu, key, "")); return NVML_SUCCESS; }
/* Calls that this class of card does not answer. */
#define NONE(name, ...) \
    EXPORT nvmlReturn_t name(nvmlDevice_t gpu, ##__VA_ARGS__) \
    { ENTER(gpu); return NVML_ERROR_NOT_SUPPORTED; }

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, "power_default")
NUMBER(nvmlDeviceGetNumFans, "fans")
NUMBER(nvmlDeviceGetPersistenceMode, "persistence")
NUMBER(nvmlDeviceGetPerformanceState, "pstate")
NUMBER(nvmlDeviceGetPowerState, "pstate")
NUMBER(nvmlDeviceGetFanSpeed, "fan")
NUMBER(nvmlDeviceGetNumGpuCores, "cores")
NUMBER(nvmlDeviceGetBrand, "brand")
NUMBER(nvmlDeviceGetArchitecture, "architecture")
NUMBER(nvmlDeviceGetMemoryBusWidth, "bus_width")
NUMBER(nvmlDeviceGetComputeMode, "compute_mode")
NUMBER(nvmlDeviceGetDisplayActive, "display")
NUMBER(nvmlDeviceGetDisplayMode, "display")
NONE(nvmlDeviceGetSerial, char *serial, unsigned size)
NONE(nvmlDeviceGetEccMode, unsigned *now, unsigned *later)
NONE(nvmlDeviceGetTotalEccErrors, int kind, int counter, unsigned long long *count)
NONE(nvmlDeviceGetRemappedRows, unsigned *a, unsigned *b, unsigned *c, unsigned *d)
NONE(nvmlDeviceGetNvLinkVersion, unsigned link, unsigned *version)

EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t gpu, unsigned *index)
{
    ENTER(gpu);
    *index = gpu->index;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t gpu, unsigned *minor)
{
    return nvmlDeviceGetIndex(gpu, minor);
}

EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t gpu, int *major, int *minor)
{
    ENTER(gpu);
    return sscanf(text(gpu, "compute", "0.0"), "%d.%d", major, minor) == 2 ? NVML_SUCCESS
                                                                          : NVML_ERROR_UNKNOWN;
}

/* Memory, in bytes; what the driver keeps for itself counts as used in the older call. */
EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t gpu, nvmlMemory_v2_t *memory)
{
    ENTER(gpu);
    memory->total = number(gpu, "memory_mib", 0) << 20;
    memory->reserved = number(gpu, "reserved_mib", 0) << 20;
    memory->used = number(gpu, "used_mib", 0) << 20;
    memory->free = memory->total - memory->reserved - memory->used;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t gpu, nvmlMemory_t *memory)
{
    nvmlMemory_v2_t whole;
    nvmlReturn_t result = nvmlDeviceGetMemoryInfo_v2(gpu, &whole);
    if (!result)
        *memory = (nvmlMemory_t){whole.total, whole.free, whole.used + whole.reserved};
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t gpu, nvmlMemory_t *memory)
{
    ENTER(gpu);
    memory->total = number(gpu, "bar1_mib", 256) << 20;
    memory->used = 2 << 20;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

/* Heat. */
EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t gpu, int sensor, unsigned *celsius)
{
    ENTER(gpu);
    if (sensor)
        return NVML_ERROR_INVALID_ARGUMENT;
    *celsius = number(gpu, "celsius", 0);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t gpu, nvmlTemperature_t *reading)
{
    ENTER(gpu);
    if (reading->version != 0x100000C)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    unsigned celsius = 0;
    nvmlReturn_t result = nvmlDeviceGetTemperature(gpu, reading->sensor, &celsius);
    reading->temperature = celsius;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t gpu, int kind, unsigned *celsius)
{
    static const char *keys[] = {"limit_shutdown", "limit_slowdown", NULL, "limit_max", NULL,
                                 "limit_target"};
    ENTER(gpu);
    if (kind < 0 || kind > 7)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (kind > 5 || !keys[kind])
        return NVML_ERROR_NOT_SUPPORTED;
    *celsius = number(gpu, keys[kind], 0);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t gpu, unsigned fan, unsigned *percent)
{
    ENTER(gpu);
    if (fan >= number(gpu, "fans", 0))
        return NVML_ERROR_INVALID_ARGUMENT;
    *percent = number(gpu, "fan", 0);
    return NVML_SUCCESS;
}

/* Power, in milliwatts. */
EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t gpu, unsigned *limit)
{
    ENTER(gpu);
    *limit = number(gpu, "power_limit", number(gpu, "power_default", 0));
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t gpu, unsigned *limit)
{
    return nvmlDeviceGetPowerManagementLimit(gpu, limit);
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(
    nvmlDevice_t gpu, unsigned *least, unsigned *most)
{
    ENTER(gpu);
    *least = number(gpu, "power_min", 0);
    *most = number(gpu, "power_max", 0);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t gpu, unsigned limit)
{
    ENTER(gpu);
    if (geteuid())
        return NVML_ERROR_NO_PERMISSION;
    if (limit < number(gpu, "power_min", 0) || limit > number(gpu, "power_max", 0))
        return NVML_ERROR_INVALID_ARGUMENT;
    return keep(gpu, "power_limit", limit) ? NVML_ERROR_UNKNOWN : NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t gpu, unsigned mode)
{
    ENTER(gpu);
    if (geteuid())
        return NVML_ERROR_NO_PERMISSION;
    return keep(gpu, "persistence", mode) ? NVML_ERROR_UNKNOWN : NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t gpu, unsigned *milliwatts)
{
    unsigned limit;
    nvmlReturn_t result = nvmlDeviceGetPowerManagementLimit(gpu, &limit);
    if (!result) {
        *milliwatts = number(gpu, "power", 0);
        if (*milliwatts > limit)
            *milliwatts = limit;
    }
    return result;
}

/* Millijoules since the driver came up: a sum up to the last change, and the time since then. */
EXPORT nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t gpu, unsigned long long *energy)
{
    unsigned power;
    nvmlReturn_t result = nvmlDeviceGetPowerUsage(gpu, &power);
    long long lasted = now_ms() - number(gpu, "since_ms", 0);
    if (!result)
        *energy = number(gpu, "energy_mj", 0) + power * lasted / 1000;
    return result;
}

/* Clocks. */
static nvmlReturn_t clock_of(nvmlDevice_t gpu, const char *prefix, unsigned kind, unsigned *mhz)
{
    static const char *names[] = {"graphics", "sm", "memory", "video"};
    char key[32];
    if (kind > 3)
        return NVML_ERROR_INVALID_ARGUMENT;
    snprintf(key, sizeof key, "%s_%s", prefix, names[kind]);
    *mhz = number(gpu, key, 0);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t gpu, unsigned kind, unsigned *mhz)
{
    ENTER(gpu);
    return clock_of(gpu, "clock", kind, mhz);
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t gpu, unsigned kind, unsigned *mhz)
{
    ENTER(gpu);
    return clock_of(gpu, "most", kind, mhz);
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(
    nvmlDevice_t gpu, unsigned long long *reasons)
{
    unsigned limit;
    nvmlReturn_t result = nvmlDeviceGetPowerManagementLimit(gpu, &limit);
    if (!result) {
        *reasons = number(gpu, "reasons", 0);
        if (number(gpu, "power", 0) > limit)
            *reasons |= 4; /* SW power cap */
    }
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(
    nvmlDevice_t gpu, unsigned long long *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(gpu, reasons);
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedClocksEventReasons(
    nvmlDevice_t gpu, unsigned long long *reasons)
{
    ENTER(gpu);
    *reasons = 0x1ff;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetViolationStatus(
    nvmlDevice_t gpu, unsigned policy, nvmlViolationTime_t *time)
{
    ENTER(gpu);
    if (policy > 11)
        return NVML_ERROR_INVALID_ARGUMENT;
    time->referenceTime = now_ms() * 1000;
    time->violationTime = policy == 0   ? violated(gpu, 4, "capped_ms")
                          : policy == 1 ? violated(gpu, 0x60, "throttled_ms")
                                        : 0;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t gpu, nvmlUtilization_t *rates)
{
    ENTER(gpu);
    rates->gpu = number(gpu, "busy", 0);
    rates->memory = rates->gpu / 2;
    return NVML_SUCCESS;
}

/* One process may hold memory: "process PID MIB". */
EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(
    nvmlDevice_t gpu, unsigned *count, nvmlProcessInfo_t *processes)
{
    unsigned pid, mib;
    ENTER(gpu);
    unsigned room = *count;
    *count = sscanf(text(gpu, "process", ""), "%u %u", &pid, &mib) == 2;
    if (*count > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    if (*count)
        *processes = (nvmlProcessInfo_t){pid, (unsigned long long)mib << 20, ~0u, ~0u};
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(
    nvmlDevice_t gpu, unsigned *count, nvmlProcessInfo_t *processes)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(gpu, count, processes);
}

EXPORT nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(
    nvmlDevice_t gpu, unsigned *count, nvmlProcessInfo_t *processes)
{
    ENTER(gpu);
    *count = 0;
    return NVML_SUCCESS;
}
