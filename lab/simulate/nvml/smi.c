/* nvidia-smi over libnvidia-ml.so.1: the table, -L, --query-gpu, -q -x, -pm, -pl, topo -m. */
#include "smi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static void *library;

/* Call a function of the library that may be missing; -1 then. */
#define CALL(name, ...) \
    ({ int (*call)() = (int (*)())dlsym(library, #name); call ? call(__VA_ARGS__) : -1; })

static const char *why(int result)
{
    const char *(*name)(int) = (const char *(*)(int))dlsym(library, "nvmlErrorString");
    return name ? name(result) : "Unknown Error";
}

nvmlDevice_t cards[16];
int results[16];
unsigned count;

static void start(void)
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

static void lost(unsigned index, int result)
{
    printf("Unable to determine the device handle for GPU%u: %s\n", index, why(result));
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
    unsigned found = 0, other = 0;
    int result;
    *unit = "";
    for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(name, numbers[i].name)) {
            int (*call)(nvmlDevice_t, unsigned *) = dlsym(library, numbers[i].call);
            result = call(gpu, &found);
            *unit = numbers[i].unit;
            sprintf(value, numbers[i].scale > 1 ? "%.2f" : "%.0f", found / numbers[i].scale);
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
            result = most ? CALL(nvmlDeviceGetMaxClockInfo, gpu, i, &found)
                          : CALL(nvmlDeviceGetClockInfo, gpu, i, &found);
            *unit = " MHz";
            sprintf(value, "%u", found);
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
        result = CALL(nvmlDeviceGetTemperature, gpu, 0, &found);
        return sprintf(value, "%u", found), result;
    }
    if (!strcmp(name, "power.max_limit") || !strcmp(name, "power.min_limit")) {
        result = CALL(nvmlDeviceGetPowerManagementLimitConstraints, gpu, &found, &other);
        *unit = " W";
        return sprintf(value, "%.2f", (name[7] == 'a' ? other : found) / 1000.0), result;
    }
    if (!strcmp(name, "persistence_mode")) {
        result = CALL(nvmlDeviceGetPersistenceMode, gpu, &found);
        return strcpy(value, found ? "Enabled" : "Disabled"), result;
    }
    if (!strcmp(name, "pstate")) {
        result = CALL(nvmlDeviceGetPerformanceState, gpu, &found);
        return sprintf(value, "P%u", found), result;
    }
    if (!strcmp(name, "compute_cap")) {
        result = CALL(nvmlDeviceGetCudaComputeCapability, gpu, &found, &other);
        return sprintf(value, "%u.%u", found, other), result;
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

static const char *unit_of(const char *name)
{
    static const char *units[][2] = {{"memory.", " [MiB]"}, {"power.", " [W]"},
        {"enforced.power", " [W]"}, {"utilization.", " [%]"}, {"fan.", " [%]"}, {"clocks", " [MHz]"}};
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
        if (!strncmp(name, units[i][0], strlen(units[i][0])))
            return units[i][1];
    return "";
}

static int query(char *list, const char *format, const char *only(unsigned))
{
    char value[96], *names[64];
    const char *unit;
    int header = !strstr(format, "noheader"), units = !strstr(format, "nounits"), many = 0, bad = 0;
    for (char *name = strtok(list, ", "); name && many < 64; name = strtok(NULL, ", "))
        names[many++] = name;
    for (int n = 0; n < many; n++) {
        if (count && !results[0] && property(cards[0], names[n], value, &unit) == -2) {
            printf("Field \"%s\" is not a valid field to query.\n\n", names[n]);
            return 2;
        }
    }
    for (int n = 0; header && n < many; n++)
        printf("%s%s%s", names[n], units ? unit_of(names[n]) : "", n + 1 < many ? ", " : "\n");
    for (unsigned i = 0; i < count; i++) {
        if (!only(i))
            continue;
        if (results[i]) {
            lost(i, bad = results[i]);
            continue;
        }
        for (int n = 0; n < many; n++) {
            int result = property(cards[i], names[n], value, &unit);
            const char *end = n + 1 < many ? ", " : "\n";
            if (result == NVML_ERROR_NOT_SUPPORTED)
                printf("[N/A]%s", end);
            else if (result)
                printf("[%s]%s", why(bad = result), end);
            else
                printf("%s%s%s", value, units ? unit : "", end);
        }
    }
    return bad;
}

static void table(const char *only(unsigned))
{
    char driver[64] = "", stamp[64];
    int cuda = 0;
    time_t now = time(NULL);
    CALL(nvmlSystemGetDriverVersion, driver, sizeof driver);
    CALL(nvmlSystemGetCudaDriverVersion, &cuda);
    strftime(stamp, sizeof stamp, "%a %b %e %H:%M:%S %Y", localtime(&now));
    puts(stamp);
    const char *line = "+-----------------------------------------------------------------------------------------+";
    const char *bar = "|-----------------------------------------+------------------------+----------------------+";
    printf("%s\n| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %2d.%-5d |\n%s\n", line, driver,
           driver, cuda / 1000, cuda % 1000 / 10, bar);
    puts("| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |\n"
         "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |\n"
         "|=========================================+========================+======================|");
    for (unsigned i = 0; i < count; i++) {
        static const char *names[] = {"name", "persistence_mode", "pci.bus_id", "fan.speed",
            "temperature.gpu", "pstate", "power.draw", "power.limit", "memory.used", "memory.total",
            "utilization.gpu"};
        char values[11][96];
        const char *unit;
        if (!only(i))
            continue;
        if (results[i]) {
            lost(i, results[i]);
            continue;
        }
        for (int n = 0; n < 11; n++)
            if (property(cards[i], names[n], values[n], &unit))
                strcpy(values[n], "ERR!");
        printf("| %3u  %-25s %-8.3s | %-16s   Off | %20s |\n", i, values[0],
               *values[1] == 'E' ? "On" : "Off", values[2], "N/A");
        printf("|%3s%%  %3sC    %-4s         %4.0fW / %4.0fW | %6sMiB / %7sMiB | %6s%%      Default |\n",
               values[3], values[4], values[5], atof(values[6]), atof(values[7]), values[8], values[9],
               values[10]);
        puts(i + 1 < count ? bar : line);
    }
}

static void topology(void)
{
    printf("\t");
    for (unsigned i = 0; i < count; i++)
        printf("GPU%u\t", i);
    puts("CPU Affinity\tNUMA Affinity\tGPU NUMA ID");
    for (unsigned i = 0; i < count; i++) {
        printf("GPU%u\t", i);
        for (unsigned j = 0; j < count; j++) {
            unsigned level = 0;
            int result = CALL(nvmlDeviceGetTopologyCommonAncestor, cards[i], cards[j], &level);
            printf("%s\t", i == j ? " X " : result ? "ERR" : level <= 10 ? "PIX" : level <= 20 ? "PXB"
                           : level <= 30 ? "PHB" : level <= 40 ? "NODE" : "SYS");
        }
        puts("0-11\t0\t\tN/A");
    }
    puts("\nLegend:\n\n  X    = Self\n  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes\n"
         "  PHB  = Connection traversing PCIe as well as a PCIe Host Bridge (typically the CPU)\n"
         "  PXB  = Connection traversing multiple PCIe bridges (without traversing the PCIe Host Bridge)\n"
         "  PIX  = Connection traversing at most a single PCIe bridge");
}

static int set_power(unsigned i, double watts)
{
    unsigned least = 0, most = 0, old = 0;
    char bus[96];
    const char *unit;
    property(cards[i], "pci.bus_id", bus, &unit);
    CALL(nvmlDeviceGetPowerManagementLimitConstraints, cards[i], &least, &most);
    CALL(nvmlDeviceGetPowerManagementLimit, cards[i], &old);
    int result = CALL(nvmlDeviceSetPowerManagementLimit, cards[i], (unsigned)(watts * 1000));
    if (!result)
        printf("Power limit for GPU %s was set to %.2f W from %.2f W.\n", bus, watts, old / 1000.0);
    else if (result == NVML_ERROR_INVALID_ARGUMENT)
        printf("Provided power limit %.2f W is not a valid power limit which should be between %.2f W "
               "and %.2f W for GPU %s\nTerminating early due to previous errors.\n",
               watts, least / 1000.0, most / 1000.0, bus);
    else
        printf("Failed to set power management limit for GPU %s: %s\nTerminating early due to "
               "previous errors.\n", bus, why(result));
    return result;
}

static const char *chosen;

static const char *wanted(unsigned i)
{
    char value[96];
    const char *unit, *names[] = {"index", "pci.bus_id", "uuid"};
    if (!chosen)
        return "all";
    for (int n = 0; n < 3; n++) {
        if (results[i] && n)
            break;
        if (results[i])
            sprintf(value, "%u", i);
        else
            property(cards[i], names[n], value, &unit);
        size_t length = strlen(value), asked = strlen(chosen);
        if (length >= asked && !strcasecmp(value + length - asked, chosen) && (n || length == asked))
            return "this";
    }
    return NULL;
}

int main(int many, char **words)
{
    char *fields = NULL, *format = "", *persistence = NULL, *watts = NULL;
    int list = 0, status = 0, matched = 0, whole = 0, xml = 0;
    if (many > 1 && !strcmp(words[1], "topo")) {
        start();
        topology();
        return 0;
    }
    for (int i = 1; i < many; i++) {
        char *word = words[i], *value = strchr(word, '='), *next = i + 1 < many ? words[i + 1] : "";
        if (value)
            value++;
        if (!strcmp(word, "-L") || !strcmp(word, "--list-gpus"))
            list = 1;
        else if (!strcmp(word, "-q") || !strcmp(word, "--query"))
            whole = 1;
        else if (!strcmp(word, "-x") || !strcmp(word, "--xml-format"))
            xml = 1;
        else if (!strncmp(word, "--query-gpu=", 12))
            fields = value;
        else if (!strncmp(word, "--format=", 9))
            format = value;
        else if (!strncmp(word, "--id=", 5))
            chosen = value;
        else if (!strcmp(word, "-i") || !strcmp(word, "--id"))
            chosen = next, i++;
        else if (!strcmp(word, "-pm") || !strcmp(word, "--persistence-mode"))
            persistence = next, i++;
        else if (!strncmp(word, "--persistence-mode=", 19))
            persistence = value;
        else if (!strcmp(word, "-pl") || !strcmp(word, "--power-limit"))
            watts = next, i++;
        else if (!strncmp(word, "--power-limit=", 14))
            watts = value;
        else {
            printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n");
            return 2;
        }
    }
    if (whole != xml) { /* the one has no form without the other here */
        printf("Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n");
        return 2;
    }
    start();
    if (whole)
        return print_xml(), 0;
    for (unsigned i = 0; i < count; i++)
        matched += wanted(i) != NULL;
    if (chosen && !matched) {
        puts("No devices were found");
        return 6;
    }
    if (fields)
        return query(fields, format, wanted);
    for (unsigned i = 0; i < count && !status; i++) {
        char name[96], uuid[96], bus[96];
        const char *unit;
        if (!wanted(i))
            continue;
        if ((list || persistence || watts) && results[i]) {
            lost(i, status = results[i]);
            continue;
        }
        if (list) {
            property(cards[i], "name", name, &unit);
            property(cards[i], "uuid", uuid, &unit);
            printf("GPU %u: %s (UUID: %s)\n", i, name, uuid);
        }
        if (persistence) {
            int on = !strcmp(persistence, "1") || !strcasecmp(persistence, "ENABLED");
            status = CALL(nvmlDeviceSetPersistenceMode, cards[i], on);
            property(cards[i], "pci.bus_id", bus, &unit);
            if (status)
                printf("Failed to set persistence mode for GPU %s: %s\n", bus, why(status));
            else
                printf("%s persistence mode for GPU %s.\n", on ? "Enabled" : "Disabled", bus);
        }
        if (watts)
            status = set_power(i, atof(watts));
    }
    if (persistence || watts)
        puts(status ? "" : "All done.");
    else if (!list)
        table(wanted);
    return status;
}
