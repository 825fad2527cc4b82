/* The clock of a rig: the machine's, shifted by the fault `clock`. A library that every program of the rig
 * loads. A program that sets the clock changes the shift, for the programs that start after it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FAULT "/run/hardware/faults/clock"
#define EXPORT __attribute__((visibility("default")))

static long shift; /* seconds */

__attribute__((constructor)) static void read_shift(void)
{
    char unit = 's';
    FILE *file = fopen(FAULT, "re");
    if (!file)
        return;
    if (fscanf(file, "%ld%c", &shift, &unit) >= 1)
        shift *= unit == 'd' ? 86400 : unit == 'h' ? 3600 : unit == 'm' ? 60 : 1;
    fclose(file);
}

static int is_shifted(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

EXPORT int clock_gettime(clockid_t clock, struct timespec *value)
{
    /* The C library's own, which needs no system call; before it can be found, the kernel's. */
    static int (*original)(clockid_t, struct timespec *);
    if (!original)
        original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = original ? original(clock, value) : (int)syscall(SYS_clock_gettime, clock, value);
    if (!result && is_shifted(clock))
        value->tv_sec += shift;
    return result;
}

EXPORT int gettimeofday(struct timeval *restrict value, void *restrict zone)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    (void)zone;
    if (!result)
        *value = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return result;
}

EXPORT time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

EXPORT int clock_settime(clockid_t clock, const struct timespec *value)
{
    struct timespec now;
    FILE *file = clock == CLOCK_REALTIME ? fopen(FAULT, "we") : NULL;
    if (!file)
        return -1;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    shift = value->tv_sec - now.tv_sec;
    fprintf(file, "%ld\n", shift);
    return fclose(file);
}

EXPORT int settimeofday(const struct timeval *value, const struct timezone *zone)
{
    (void)zone;
    return value ? clock_settime(CLOCK_REALTIME, &(struct timespec){value->tv_sec, value->tv_usec * 1000}) : 0;
}
