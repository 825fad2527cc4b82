#include "smi.h"

#include <stdio.h>
#include <string.h>

/* A property as an element; what the card does not tell is N/A, as it is on a GeForce. */
static void element(unsigned i, const char *tag, const char *name)
{
    char value[96];
    const char *unit = "";
    int result = name ? property(cards[i], name, value, &unit) : NVML_ERROR_NOT_SUPPORTED;
    printf(result ? "\t\t\t<%s>N/A</%s>\n" : "\t\t\t<%s>%s%s</%s>\n", tag, result ? tag : value, unit, tag);
}

static void group(unsigned i, const char *tag, const char *rows[][2], unsigned many)
{
    printf("\t\t<%s>\n", tag);
    for (unsigned n = 0; n < many; n++)
        element(i, rows[n][0], rows[n][1]);
    printf("\t\t</%s>\n", tag);
}

#define GROUP(i, tag, ...)                                             \
    do {                                                               \
        const char *rows[][2] = {__VA_ARGS__};                         \
        group(i, tag, rows, sizeof rows / sizeof *rows);               \
    } while (0)

void print_xml(void)
{
    char value[96];
    const char *unit;
    puts("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">\n<nvidia_smi_log>");
    if (count && !results[0] && !property(cards[0], "driver_version", value, &unit))
        printf("\t<driver_version>%s</driver_version>\n", value);
    printf("\t<attached_gpus>%u</attached_gpus>\n", count);
    for (unsigned i = 0; i < count; i++) {
        if (results[i] || property(cards[i], "pci.bus_id", value, &unit))
            continue;
        printf("\t<gpu id=\"%s\">\n", value);
        element(i, "product_name", "name");
        element(i, "uuid", "uuid");
        element(i, "vbios_version", "vbios_version");
        element(i, "fan_speed", "fan.speed");
        element(i, "performance_state", "pstate");
        GROUP(i, "fb_memory_usage", {"total", "memory.total"}, {"used", "memory.used"});
        GROUP(i, "utilization", {"gpu_util", "utilization.gpu"}, {"memory_util", "utilization.memory"});
        puts("\t\t<retired_pages>");
        GROUP(i, "multiple_single_bit_retirement", {"retired_count", NULL});
        GROUP(i, "double_bit_retirement", {"retired_count", NULL});
        puts("\t\t</retired_pages>\n\t\t<remapped_rows>N/A</remapped_rows>");
        GROUP(i, "temperature", {"gpu_temp", "temperature.gpu"}, {"memory_temp", NULL});
        GROUP(i, "gpu_power_readings", {"power_draw", "power.draw"},
              {"current_power_limit", "power.limit"}, {"default_power_limit", "power.default_limit"},
              {"min_power_limit", "power.min_limit"}, {"max_power_limit", "power.max_limit"});
        puts("\t</gpu>");
    }
    puts("</nvidia_smi_log>");
}
