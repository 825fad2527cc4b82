/* nvidia-smi over libnvidia-ml.so.1: the table, -L, --query-gpu, -q -x, -pm, -pl, topo -m. */
#include "smi.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static void lost(unsigned index, int result)
{
    printf("Unable to determine the device handle for GPU%u: %s\n", index, why(result));
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
