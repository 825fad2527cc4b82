/* A slow way between GPUs: what a program of the rig sends takes its bytes at RATE, and as long again as before.
 * Preloaded by the benchmarks while the fault `driver-breaks` has the effect speed; gloo sends with writev. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/uio.h>
#include <time.h>

#define RATE 100000000L /* bytes per second */

__attribute__((visibility("default"))) ssize_t writev(int file, const struct iovec *parts, int count)
{
    static ssize_t (*original)(int, const struct iovec *, int);
    if (!original)
        original = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    ssize_t sent = original(file, parts, count);
    if (sent > 0) {
        long long nanoseconds = sent * (1000000000LL / RATE);
        struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        nanosleep(&time, NULL);
    }
    return sent;
}
