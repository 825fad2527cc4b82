/* Events: an Xid is a number and a count in the control file; a higher count is a new Xid. */
#include "state.h"

#include <stdlib.h>
#include <unistd.h>

#define XID 8ULL

struct events {
    unsigned long long wanted[MAX_GPUS];
    long long seen[MAX_GPUS];
};

EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set)
{
    *set = calloc(1, sizeof **set);
    return *set ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set)
{
    free(set);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t gpu, unsigned long long *types)
{
    nvmlReturn_t result = enter(gpu);
    *types = XID;
    return result;
}

EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(
    nvmlDevice_t gpu, unsigned long long types, nvmlEventSet_t set)
{
    nvmlReturn_t result = enter(gpu);
    if (result)
        return result;
    if (types & ~XID)
        return NVML_ERROR_NOT_SUPPORTED;
    set->wanted[gpu->index] |= types;
    set->seen[gpu->index] = number(gpu, "xids", 0);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlEventSetWait_v2(
    nvmlEventSet_t set, nvmlEventData_t *event, unsigned milliseconds)
{
    long long end = now_ms() + milliseconds;
    if (!started)
        return NVML_ERROR_UNINITIALIZED;
    do {
        refresh();
        for (int i = 0; i < gpu_count; i++) {
            long long count = number(&gpus[i], "xids", 0);
            if ((set->wanted[i] & XID) && count > set->seen[i]) {
                set->seen[i] = count;
                *event = (nvmlEventData_t){&gpus[i], XID, number(&gpus[i], "xid", 0), ~0u, ~0u};
                return NVML_SUCCESS;
            }
            if (count < set->seen[i])
                set->seen[i] = count;
        }
        if (now_ms() < end)
            usleep(10000);
    } while (now_ms() < end);
    return NVML_ERROR_TIMEOUT;
}
