/* LD_PRELOAD: a clock that is $CLOCK_S seconds ahead, and a folder $FULL_UNDER that takes $FULL_AFTER new names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t which, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(which, now);
    const char *ahead = getenv("CLOCK_S");
    if (ahead && which == CLOCK_REALTIME) now->tv_sec += atol(ahead);
    return done;
}

static int refuses(const char *path) {
    static long taken;
    const char *under = getenv("FULL_UNDER"), *after = getenv("FULL_AFTER");
    if (!under || !after || !path || strncmp(path, under, strlen(under)) || !access(path, F_OK)) return 0;
    errno = ENOSPC;
    return taken++ >= atol(after);
}

int mkdir(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) real = dlsym(RTLD_NEXT, "mkdir");
    return refuses(path) ? (errno = ENOSPC, -1) : real(path, mode);
}

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        static int (*real)(const char *, int, ...);                                      \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                       \
        va_list rest;                                                                    \
        va_start(rest, flags);                                                           \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;          \
        va_end(rest);                                                                    \
        return (flags & O_CREAT) && refuses(path) ? (errno = ENOSPC, -1) : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
