/* The first opens of a file fail with EIO: LD_PRELOAD=… FAILING_FILE=part of its path, FAILS=a file with one byte for
   each open that is to fail; each takes one away. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *path) {
    struct stat left;
    const char *failing = getenv("FAILING_FILE"), *fails = getenv("FAILS");
    if (!failing || !fails || !strstr(path, failing) || stat(fails, &left) || left.st_size == 0) return 0;
    if (truncate(fails, left.st_size - 1)) return 0;
    errno = EIO;
    return 1;
}

#define OPENS(name)                                                     \
    int name(const char *path, int flags, ...) {                        \
        static int (*real)(const char *, int, ...);                     \
        va_list more;                                                   \
        va_start(more, flags);                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; \
        va_end(more);                                                   \
        if (!real) real = dlsym(RTLD_NEXT, #name);                      \
        return fails(path) ? -1 : real(path, flags, mode);              \
    }

OPENS(open)
OPENS(open64)
