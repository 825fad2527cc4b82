/* What the simulated GPUs are like right now: two text files of lines "GPU KEY VALUE".
 *
 * `control` is the lab's (what the cards are, and what is wrong with them), `settings` is what
 * this library was told to set; the latter wins. Both are replaced by rename, and looked at again
 * whenever their time of change differs.
 */
#ifndef LAB_STATE_H
#define LAB_STATE_H

#include "nvml.h"

#define MAX_GPUS 16
#define MAX_ROWS 96

struct gpu {
    int index, rows;
    struct { char key[32], value[96]; } row[MAX_ROWS];
};

extern struct gpu gpus[MAX_GPUS], rig;
extern int gpu_count, started;

void refresh(void);
const char *text(const struct gpu *gpu, const char *key, const char *otherwise);
long long number(const struct gpu *gpu, const char *key, long long otherwise);
int keep(const struct gpu *gpu, const char *key, long long value);

/* A file of the simulated machine, such as "/proc/driver/nvidia/version". */
const char *place(const char *path, char *buffer, unsigned size);

/* What every call on a device does first: fails if it is lost, never returns while it hangs. */
nvmlReturn_t enter(nvmlDevice_t gpu);

long long now_ms(void);

/* For how long, in ns, the clocks were held down for one of these reasons: a sum, and since when. */
long long violated(const struct gpu *gpu, long long reasons, const char *sum);

#endif
