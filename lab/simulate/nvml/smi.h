/* What nvidia-smi's parts share: the GPUs that answer, and one property of one of them as text. */
#pragma once
#include <dlfcn.h>

#include "nvml.h"

extern void *library;
/* Call a function of the library that may be missing; -1 then. */
#define CALL(name, ...) \
    ({ int (*call)() = (int (*)())dlsym(library, #name); call ? call(__VA_ARGS__) : -1; })

/* Load the library and find the GPUs; exits as nvidia-smi does if there is no driver. */
void start(void);
/* The text of an error of NVML. */
const char *why(int result);

extern nvmlDevice_t cards[16];
extern int results[16];
extern unsigned count;

/* 0 and its value, NVML's error, or -2 for a name that is not known. */
int property(nvmlDevice_t gpu, const char *name, char *value, const char **unit);

/* nvidia-smi -q -x, in the element names of NVIDIA's nvsmi_device_v12.dtd. */
void print_xml(void);
