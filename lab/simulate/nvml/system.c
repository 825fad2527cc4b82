/* The library itself: begin and end, versions, finding devices, naming errors. */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifndef DRIVER
#define DRIVER "580.95.05"
#define CUDA 13000
#endif

/* "NVRM version: NVIDIA UNIX … Kernel Module …  535.171.04 …": the word that begins like a version. */
static int loaded_driver(char *version, unsigned size)
{
    char path[512], line[256] = "";
    FILE *file = fopen(place("/proc/driver/nvidia/version", path, sizeof path), "re");
    if (!file)
        return 0;
    if (!fgets(line, sizeof line, file))
        line[0] = 0;
    fclose(file);
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
        if (strspn(word, "0123456789.") == strlen(word) && strchr(word, '.')) {
            snprintf(version, size, "%s", word);
            return 1;
        }
    return 1;
}

/* As the driver's library: it opens the device, and keeps the module in use while it is loaded. */
static nvmlReturn_t open_device(void)
{
    static int held = -1;
    char path[512];
    int device = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
    /* No such device is all that a container's node can answer; a sandbox says that it may not. */
    if (device < 0 && (errno == EPERM || errno == EACCES))
        return NVML_ERROR_NO_PERMISSION;
    if (device >= 0)
        close(device);
    if (held < 0)
        held = open(place("/run/hardware/in-use", path, sizeof path), O_RDONLY | O_CLOEXEC);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    char version[32] = "";
    refresh();
    if (!loaded_driver(version, sizeof version))
        return NVML_ERROR_DRIVER_NOT_LOADED;
    if (strcmp(version, DRIVER) || number(&rig, "mismatch", 0))
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    nvmlReturn_t opened = open_device();
    started += opened == NVML_SUCCESS;
    return opened;
}

EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn_t nvmlShutdown(void)
{
    if (!started)
        return NVML_ERROR_UNINITIALIZED;
    started--;
    return NVML_SUCCESS;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case NVML_SUCCESS: return "The operation was successful";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t copy(const char *from, char *to, unsigned size)
{
    if (strlen(from) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, from);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    return started ? copy(DRIVER, version, size) : NVML_ERROR_UNINITIALIZED;
}

EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned size)
{
    char major[16];
    snprintf(major, sizeof major, "%d.%s", CUDA / 1000, DRIVER);
    return copy(major, version, size);
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    *version = CUDA;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return nvmlSystemGetCudaDriverVersion(version);
}

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    if (!started)
        return NVML_ERROR_UNINITIALIZED;
    refresh();
    *count = gpu_count;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *gpu)
{
    unsigned count;
    nvmlReturn_t result = nvmlDeviceGetCount_v2(&count);
    if (result)
        return result;
    if (index >= count)
        return NVML_ERROR_INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return enter(*gpu);
}

static nvmlReturn_t find(const char *key, const char *value, nvmlDevice_t *gpu)
{
    unsigned count;
    nvmlReturn_t result = nvmlDeviceGetCount_v2(&count);
    for (unsigned i = 0; !result && i < count; i++) {
        const char *id = text(&gpus[i], key, "");
        /* "00000000:08:00.0" and "0000:08:00.0" are one address. */
        size_t id_length = strlen(id), length = strlen(value);
        if (length >= id_length && *id && !strcasecmp(id, value + length - id_length)) {
            *gpu = &gpus[i];
            return enter(*gpu);
        }
    }
    return result ? result : NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *bus, nvmlDevice_t *gpu)
{
    return find("bus", bus, gpu);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *gpu)
{
    return find("uuid", uuid, gpu);
}
