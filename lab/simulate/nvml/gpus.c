/* libnvidia-ml.so.1 as nvidia-smi loads it: the GPUs, and one property of one of them as text. */
#include "smi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *library;

const char *why(int result)
{
    const char *(*name)(int) = (const char *(*)(int))dlsym(library, "nvmlErrorString");
    return name ? name(result) : "Unknown Error";
}

nvmlDevice_t cards[16];
int results[16];
unsigned count;

void start(void)
{
    library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        puts("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure "
             "that the NVIDIA Display Driver is properly installed and present in your system.\n"
             "Please also try adding directory that contains libnvidia-ml.so to your system PATH.");
        exit(12);
    }
    int result = CALL(nvmlInitWithFlags, 0);
    if (result == NVML_ERROR_DRIVER_NOT_LOADED) {
        puts("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
             "sure that the latest NVIDIA driver is installed and running.\n");
        exit(9);
    }
    if (result) {
        char version[64] = "";
        CALL(nvmlSystemGetNVMLVersion, version, sizeof version);
        printf("Failed to initialize NVML: %s\n", why(result));
        if (result == NVML_ERROR_LIB_RM_VERSION_MISMATCH && strchr(version, '.'))
            printf("NVML library version: %.*s\n", 6, strchr(version, '.') + 1);
        exit(result);
    }
    CALL(nvmlDeviceGetCount_v2, &count);
    for (unsigned i = 0; i < count; i++)
        results[i] = CALL(nvmlDeviceGetHandleByIndex_v2, i, &cards[i]);
}

/* As --query-gpu prints it; the unit apart, for nounits. */
int property(nvmlDevice_t gpu, const char *name, char *value, const char **unit)
{
    static const struct { const char *name, *call, *unit; double scale; } numbers[] = {
        {"index", "nvmlDeviceGetIndex", "", 1},
        {"power.draw", "nvmlDeviceGetPowerUsage", " W", 1000},
        {"power.draw.instant", "nvmlDeviceGetPowerUsage", " W", 1000},
        {"power.limit", "nvmlDeviceGetPowerManagementLimit", " W", 1000},
        {"enforced.power.limit", "nvmlDeviceGetEnforcedPowerLimit", " W", 1000},
        {"power.default_limit", "nvmlDeviceGetPowerManagementDefaultLimit", " W", 1000},
        {"pcie.link.width.current", "nvmlDeviceGetCurrPcieLinkWidth", "", 1},
        {"pcie.link.width.max", "nvmlDeviceGetMaxPcieLinkWidth", "", 1},
        {"pcie.link.gen.current", "nvmlDeviceGetCurrPcieLinkGeneration", "", 1},
        {"pcie.link.gen.gpucurrent", "nvmlDeviceGetCurrPcieLinkGeneration", "", 1},
        {"pcie.link.gen.max", "nvmlDeviceGetMaxPcieLinkGeneration", "", 1},
        {"pcie.link.gen.gpumax", "nvmlDeviceGetGpuMaxPcieLinkGeneration", "", 1},
        {"fan.speed", "nvmlDeviceGetFanSpeed", " %", 1},
    };
    static const struct { const char *name, *call; } texts[] = {
        {"uuid", "nvmlDeviceGetUUID"}, {"gpu_uuid", "nvmlDeviceGetUUID"},
        {"name", "nvmlDeviceGetName"}, {"gpu_name", "nvmlDeviceGetName"},
        {"vbios_version", "nvmlDeviceGetVbiosVersion"},
    };
    static const char *clocks[] = {"clocks.gr", "clocks.sm", "clocks.mem", "clocks.video"};
    unsigned reading = 0, second_reading = 0;
    int result;
    *unit = "";
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(name, numbers[i].name)) {
            int (*call)(nvmlDevice_t, unsigned *) = dlsym(library, numbers[i].call);
            result = call(gpu, &reading);
            *unit = numbers[i].unit;
            sprintf(value, numbers[i].scale > 1 ? "%.2f" : "%.0f", reading / numbers[i].scale);
            return result;
        }
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strcmp(name, texts[i].name)) {
            int (*call)(nvmlDevice_t, char *, unsigned) = dlsym(library, texts[i].call);
            return call(gpu, value, 96);
        }
    for (unsigned i = 0; i < 4; i++)
        if (!strncmp(name, clocks[i], strlen(clocks[i]))) {
            int most = strstr(name, ".max.") != NULL;
            result = most ? CALL(nvmlDeviceGetMaxClockInfo, gpu, i, &reading)
                          : CALL(nvmlDeviceGetClockInfo, gpu, i, &reading);
            *unit = " MHz";
            sprintf(value, "%u", reading);
            return result;
        }
    if (!strcmp(name, "driver_version"))
        return CALL(nvmlSystemGetDriverVersion, value, 96);
    if (!strcmp(name, "count"))
        return sprintf(value, "%u", count), 0;
    if (!strcmp(name, "pci.bus_id") || !strcmp(name, "gpu_bus_id")) {
        nvmlPciInfo_t info;
        result = CALL(nvmlDeviceGetPciInfo_v3, gpu, &info);
        return strcpy(value, info.busId), result;
    }
    if (!strncmp(name, "memory.", 7)) {
        nvmlMemory_v2_t memory = {.version = 0x02000028};
        result = CALL(nvmlDeviceGetMemoryInfo_v2, gpu, &memory);
        unsigned long long bytes = !strcmp(name + 7, "total")      ? memory.total
                                   : !strcmp(name + 7, "used")     ? memory.used
                                   : !strcmp(name + 7, "reserved") ? memory.reserved
                                                                   : memory.free;
        *unit = " MiB";
        return sprintf(value, "%llu", bytes >> 20), result;
    }
    if (!strcmp(name, "temperature.gpu")) {
        result = CALL(nvmlDeviceGetTemperature, gpu, 0, &reading);
        return sprintf(value, "%u", reading), result;
    }
    if (!strcmp(name, "power.max_limit") || !strcmp(name, "power.min_limit")) {
        result = CALL(nvmlDeviceGetPowerManagementLimitConstraints, gpu, &reading, &second_reading);
        *unit = " W";
        return sprintf(value, "%.2f", (name[7] == 'a' ? second_reading : reading) / 1000.0), result;
    }
    if (!strcmp(name, "persistence_mode")) {
        result = CALL(nvmlDeviceGetPersistenceMode, gpu, &reading);
        return strcpy(value, reading ? "Enabled" : "Disabled"), result;
    }
    if (!strcmp(name, "pstate")) {
        result = CALL(nvmlDeviceGetPerformanceState, gpu, &reading);
        return sprintf(value, "P%u", reading), result;
    }
    if (!strcmp(name, "compute_cap")) {
        result = CALL(nvmlDeviceGetCudaComputeCapability, gpu, &reading, &second_reading);
        return sprintf(value, "%u.%u", reading, second_reading), result;
    }
    if (!strncmp(name, "utilization.", 12)) {
        nvmlUtilization_t rates = {0};
        result = CALL(nvmlDeviceGetUtilizationRates, gpu, &rates);
        *unit = " %";
        return sprintf(value, "%u", name[12] == 'g' ? rates.gpu : rates.memory), result;
    }
    if (!strcmp(name, "serial") || !strncmp(name, "ecc.", 4) || !strcmp(name, "temperature.memory"))
        return NVML_ERROR_NOT_SUPPORTED;
    return -2;
}
