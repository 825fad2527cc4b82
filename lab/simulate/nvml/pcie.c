/* PCIe: links are read from sysfs, as the kernel tells them; counters from the control file. */
#include "state.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENTER(gpu) \
    do { nvmlReturn_t entered = enter(gpu); if (entered) return entered; } while (0)

static void attribute(const struct gpu *gpu, const char *name, char *value, unsigned size)
{
    char path[512], place_of[600];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/%s", text(gpu, "bus", "-"), name);
    value[0] = 0;
    FILE *file = fopen(place(path, place_of, sizeof place_of), "re");
    if (!file)
        return;
    if (!fgets(value, size, file))
        value[0] = 0;
    fclose(file);
}

static nvmlReturn_t width(const struct gpu *gpu, const char *name, unsigned *lanes)
{
    char value[64];
    attribute(gpu, name, value, sizeof value);
    *lanes = atoi(value);
    return *lanes && *lanes < 63 ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

static nvmlReturn_t generation(const struct gpu *gpu, const char *name, unsigned *gen)
{
    static const double speeds[] = {2.5, 5, 8, 16, 32, 64};
    char value[64];
    attribute(gpu, name, value, sizeof value);
    double speed = atof(value);
    for (*gen = 0; *gen < 6 && speeds[*gen] <= speed; ++*gen)
        ;
    return *gen ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t gpu, nvmlPciInfo_t *info)
{
    char vendor[32], device[32], sub_vendor[32], sub_device[32];
    ENTER(gpu);
    const char *bus = text(gpu, "bus", "0000:00:00.0");
    memset(info, 0, sizeof *info);
    sscanf(bus, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    for (char *letter = strcpy(info->busIdLegacy, bus); *letter; letter++)
        if (*letter >= 'a')
            *letter -= 32;
    snprintf(info->busId, sizeof info->busId, "0000%s", info->busIdLegacy);
    attribute(gpu, "vendor", vendor, sizeof vendor);
    attribute(gpu, "device", device, sizeof device);
    attribute(gpu, "subsystem_vendor", sub_vendor, sizeof sub_vendor);
    attribute(gpu, "subsystem_device", sub_device, sizeof sub_device);
    info->pciDeviceId = strtoul(device, NULL, 16) << 16 | strtoul(vendor, NULL, 16);
    info->pciSubSystemId = strtoul(sub_device, NULL, 16) << 16 | strtoul(sub_vendor, NULL, 16);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t gpu, unsigned *lanes)
{
    ENTER(gpu);
    return width(gpu, "current_link_width", lanes);
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t gpu, unsigned *lanes)
{
    ENTER(gpu);
    return width(gpu, "max_link_width", lanes);
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t gpu, unsigned *gen)
{
    ENTER(gpu);
    return generation(gpu, "current_link_speed", gen);
}

EXPORT nvmlReturn_t nvmlDeviceGetGpuMaxPcieLinkGeneration(nvmlDevice_t gpu, unsigned *gen)
{
    ENTER(gpu);
    return generation(gpu, "max_link_speed", gen);
}

/* The best that the card and its slot have in common. */
EXPORT nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t gpu, unsigned *gen)
{
    unsigned slot;
    ENTER(gpu);
    nvmlReturn_t result = generation(gpu, "max_link_speed", gen);
    if (!result && !generation(gpu, "../max_link_speed", &slot) && slot < *gen)
        *gen = slot;
    return result;
}

/* An enumeration: 2500, 5000, 8000 MT/s and so on are 1, 2, 3 … */
EXPORT nvmlReturn_t nvmlDeviceGetPcieLinkMaxSpeed(nvmlDevice_t gpu, unsigned *speed)
{
    return nvmlDeviceGetMaxPcieLinkGeneration(gpu, speed);
}

EXPORT nvmlReturn_t nvmlDeviceGetPcieSpeed(nvmlDevice_t gpu, unsigned *megatransfers)
{
    char value[64];
    ENTER(gpu);
    attribute(gpu, "current_link_speed", value, sizeof value);
    *megatransfers = atof(value) * 1000;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t gpu, unsigned *count)
{
    ENTER(gpu);
    *count = number(gpu, "replays", 0);
    return NVML_SUCCESS;
}

/* KB/s over a window of 20 ms, which the call takes. */
EXPORT nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t gpu, unsigned way, unsigned *rate)
{
    struct timespec window = {0, 20000000};
    ENTER(gpu);
    if (way > 1)
        return NVML_ERROR_INVALID_ARGUMENT;
    nanosleep(&window, NULL);
    *rate = number(gpu, way ? "rx_kbs" : "tx_kbs", 0);
    return NVML_SUCCESS;
}

static void field(nvmlDevice_t gpu, nvmlFieldValue_t *entry)
{
    static const struct { unsigned id; const char *key; } counters[] = {
        {94, "replays"}, {95, "rollovers"}, {169, "recoveries"}, {173, "correctable"},
        {174, "naks_received"}, {175, "receiver_errors"}, {176, "bad_tlp"}, {177, "naks_sent"},
        {178, "bad_dllp"}, {179, "nonfatal"}, {180, "fatal"}, {181, "unsupported"},
        {182, "lcrc"}, {183, "lane_errors"}, {230, "recovery_action"},
    };
    entry->timestamp = now_ms() * 1000;
    entry->latencyUsec = 20;
    entry->valueType = 1;
    entry->nvmlReturn = NVML_SUCCESS;
    entry->value.ull = 0;
    for (unsigned i = 0; i < sizeof counters / sizeof *counters; i++)
        if (counters[i].id == entry->fieldId) {
            entry->value.ui = number(gpu, counters[i].key, 0);
            return;
        }
    entry->valueType = 3;
    if (entry->fieldId == 197 || entry->fieldId == 198) {
        const char *key = entry->fieldId == 197 ? "tx_kbs" : "rx_kbs";
        entry->value.ull = number(gpu, key, 0) * now_ms();
    } else if (entry->fieldId >= 269 && entry->fieldId <= 271) {
        static const int bits[] = {0x20, 0x40, 0x80};
        entry->value.ull = violated(gpu, bits[entry->fieldId - 269], "throttled_ms");
    } else {
        entry->nvmlReturn = NVML_ERROR_NOT_SUPPORTED; /* 82, the memory's heat, among them */
    }
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t gpu, int count, nvmlFieldValue_t *values)
{
    ENTER(gpu);
    for (int i = 0; i < count; i++)
        field(gpu, &values[i]);
    return NVML_SUCCESS;
}

/* Topology. */
static void real(const struct gpu *gpu, char *path)
{
    char link[512], place_of[600];
    snprintf(link, sizeof link, "/sys/bus/pci/devices/%s", text(gpu, "bus", "-"));
    if (!realpath(place(link, place_of, sizeof place_of), path))
        path[0] = 0;
}

/* Below a bridge that both hang on: one switch. Otherwise the CPU's host bridge is between them. */
EXPORT nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(
    nvmlDevice_t gpu, nvmlDevice_t peer, unsigned *level)
{
    char first[PATH_MAX], second[PATH_MAX];
    ENTER(gpu);
    ENTER(peer);
    real(gpu, first);
    real(peer, second);
    char *begin = strstr(first, "/pci0000:00/"), *same = strstr(second, "/pci0000:00/");
    if (!begin || !same)
        return NVML_ERROR_UNKNOWN;
    begin += strlen("/pci0000:00/");
    same += strlen("/pci0000:00/");
    *level = strncmp(begin, same, strcspn(begin, "/") + 1) ? 30 : 10;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetP2PStatus(
    nvmlDevice_t gpu, nvmlDevice_t peer, unsigned index, unsigned *status)
{
    ENTER(gpu);
    ENTER(peer);
    if (index > 5)
        return NVML_ERROR_INVALID_ARGUMENT;
    *status = number(gpu, "p2p", 1); /* chipset not supported: GeForce as it comes */
    return NVML_SUCCESS;
}

/* Four links and no bridge between the cards. */
EXPORT nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t gpu, unsigned link, unsigned *active)
{
    ENTER(gpu);
    if (link > 3)
        return NVML_ERROR_INVALID_ARGUMENT;
    *active = 0;
    return NVML_SUCCESS;
}
