#include "state.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HARDWARE "/run/hardware"

struct gpu gpus[MAX_GPUS], rig;
int gpu_count, started;
static struct gpu fresh[MAX_GPUS + 1]; /* the last is the rig's; other threads read the old one */
static int fresh_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *folder(void)
{
    const char *other = getenv("DEEPRIG_LAB_HARDWARE");
    return other ? other : HARDWARE;
}

const char *place(const char *path, char *buffer, unsigned size)
{
    const char *other = getenv("DEEPRIG_LAB_HARDWARE");
    snprintf(buffer, size, "%s%s", other ? other : "", path);
    return buffer;
}

static void set_row(struct gpu *gpu, const char *key, const char *value)
{
    int i = 0;
    while (i < gpu->rows && strcmp(gpu->row[i].key, key))
        i++;
    if (i == MAX_ROWS)
        return;
    if (i == gpu->rows)
        gpu->rows++;
    snprintf(gpu->row[i].key, sizeof gpu->row[i].key, "%s", key);
    snprintf(gpu->row[i].value, sizeof gpu->row[i].value, "%s", value);
}

static void read_file(const char *name)
{
    char path[512], line[256], who[8], key[32];
    int value;
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%7s %31s %n", who, key, &value) < 2)
            continue;
        int index = atoi(who);
        if (*who == '-') {
            set_row(&fresh[MAX_GPUS], key, line + value);
        } else if (index >= 0 && index < MAX_GPUS) {
            set_row(&fresh[index], key, line + value);
            if (index >= fresh_count)
                fresh_count = index + 1;
        }
    }
    if (file)
        fclose(file);
}

void refresh(void)
{
    static struct stat seen[2];
    static const char *names[] = {"control", "settings"};
    int changed = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 2; i++) {
        struct stat now = {0};
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder(), names[i]);
        stat(path, &now);
        changed |= now.st_ino != seen[i].st_ino ||
                   memcmp(&now.st_mtim, &seen[i].st_mtim, sizeof now.st_mtim);
        seen[i] = now;
    }
    if (changed) {
        fresh_count = 0;
        for (int i = 0; i <= MAX_GPUS; i++) {
            fresh[i].index = i;
            fresh[i].rows = 0;
        }
        read_file(names[0]);
        read_file(names[1]);
        memcpy(gpus, fresh, sizeof gpus);
        rig = fresh[MAX_GPUS];
        gpu_count = fresh_count;
    }
    pthread_mutex_unlock(&lock);
}

const char *text(const struct gpu *gpu, const char *key, const char *otherwise)
{
    for (int i = 0; i < gpu->rows; i++)
        if (!strcmp(gpu->row[i].key, key))
            return gpu->row[i].value;
    return otherwise;
}

long long number(const struct gpu *gpu, const char *key, long long otherwise)
{
    const char *value = text(gpu, key, NULL);
    return value ? atoll(value) : otherwise;
}

/* Keep a setting until the next boot: rewrite `settings` with this row replaced. Processes that do so
   at once wait for each other at the folder: a lock on the draft would be renamed away with it. */
int keep(const struct gpu *gpu, const char *key, long long value)
{
    char path[512], draft[520], line[256], who[8], name[32];
    snprintf(path, sizeof path, "%s/settings", folder());
    snprintf(draft, sizeof draft, "%s.new", path);
    int turn = open(folder(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (turn < 0)
        return -1;
    flock(turn, LOCK_EX);
    FILE *out = fopen(draft, "we");
    if (!out) {
        close(turn);
        return -1;
    }
    FILE *in = fopen(path, "re");
    while (in && fgets(line, sizeof line, in))
        if (sscanf(line, "%7s %31s", who, name) == 2 &&
            (atoi(who) != gpu->index || strcmp(name, key)))
            fputs(line, out);
    if (in)
        fclose(in);
    fprintf(out, "%d %s %lld\n", gpu->index, key, value);
    int failed = fclose(out) || rename(draft, path);
    close(turn);
    return failed;
}

long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

long long violated(const struct gpu *gpu, long long reasons, const char *sum)
{
    long long lasted = now_ms() - number(gpu, "since_ms", 0);
    int on = (number(gpu, "reasons", 0) & reasons) != 0;
    return (number(gpu, sum, 0) + (on ? lasted : 0)) * 1000000;
}

nvmlReturn_t enter(nvmlDevice_t gpu)
{
    if (!started)
        return NVML_ERROR_UNINITIALIZED;
    if (gpu < gpus || gpu >= gpus + MAX_GPUS)
        return NVML_ERROR_INVALID_ARGUMENT;
    refresh();
    while (number(gpu, "hang", 0)) {
        usleep(100000);
        refresh();
    }
    return number(gpu, "lost", 0) ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}
