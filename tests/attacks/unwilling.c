/* LD_PRELOAD: a clock that is $CLOCK_S seconds ahead; below $UNDER, what a process does to files fails.
 *
 * $FULL_AFTER: after so many new names, there is no space left. $STRIKE_AT: this operation (the first is 1) fails with
 * $STRIKE_WITH, an errno, or kills the process where that is 0. $TOTAL names a file that gets the number of operations.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

static long names, operations;

static int is_under(const char *path) {
    const char *under = getenv("UNDER");
    return under && path && !strncmp(path, under, strlen(under));
}

static int is_full(const char *path) {
    const char *after = getenv("FULL_AFTER");
    return after && is_under(path) && access(path, F_OK) && names++ >= atol(after);
}

/* Count an operation on a path; return whether it fails, with errno set. */
static int strikes(const char *path) {
    const char *at = getenv("STRIKE_AT"), *with = getenv("STRIKE_WITH");
    if (!is_under(path)) return 0;
    if (++operations != (at ? atol(at) : -1)) return 0;
    if (!with || !atoi(with)) kill(getpid(), SIGKILL);
    errno = atoi(with);
    return 1;
}

static int strikes_at(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strikes(path);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("TOTAL");
    if (!path || !operations) return;
    FILE *file = fopen(path, "w");
    if (file) {
        fprintf(file, "%ld", operations);
        fclose(file);
    }
}

int clock_gettime(clockid_t which, struct timespec *now) {
    REAL(clock_gettime)
    int done = real(which, now);
    const char *ahead = getenv("CLOCK_S");
    if (ahead && which == CLOCK_REALTIME) now->tv_sec += atol(ahead);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir)
    if (is_full(path)) return errno = ENOSPC, -1;
    return strikes(path) ? -1 : real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename)
    return strikes(to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink)
    return strikes(path) ? -1 : real(path);
}

int rmdir(const char *path) {
    REAL(rmdir)
    return strikes(path) ? -1 : real(path);
}

int fsync(int descriptor) {
    REAL(fsync)
    return strikes_at(descriptor) ? -1 : real(descriptor);
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write)
    return strikes_at(descriptor) ? -1 : real(descriptor, data, size);
}

#define OPEN(name)                                                                \
    int name(const char *path, int flags, ...) {                                  \
        REAL(name)                                                                \
        va_list rest;                                                             \
        va_start(rest, flags);                                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;   \
        va_end(rest);                                                             \
        if ((flags & O_CREAT) && is_full(path)) return errno = ENOSPC, -1;        \
        if ((flags & O_ACCMODE) != O_RDONLY && strikes(path)) return -1;          \
        return real(path, flags, mode);                                           \
    }
OPEN(open)
OPEN(open64)
