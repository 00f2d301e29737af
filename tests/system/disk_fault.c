/* A disk that refuses below one folder alone, for LD_PRELOAD: the file that DISK_FAULT names holds "ERRNO FOLDER".

   ENOSPC: a write takes a part, the next one nothing. EACCES: nothing new can be opened for writing; what is open stays
   so. As Linux does. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fault(const char *path) {
    char text[4096], folder[4000];
    int number = 0, fd;
    ssize_t size;
    const char *control = getenv("DISK_FAULT");
    if (!control || (fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    if (sscanf(text, "%d %3999s", &number, folder) != 2)
        return 0;
    return strncmp(path, folder, strlen(folder)) ? 0 : number;
}

ssize_t write(int fd, const void *data, size_t size) {
    static int part;
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (size && fault(path) == ENOSPC) {
        part = !part;
        if (!part || size < 2) {
            errno = ENOSPC;
            return -1;
        }
        size /= 2;
    }
    return syscall(SYS_write, fd, data, size);
}

static int opened(const char *path, int flags, mode_t mode) {
    if (flags & (O_WRONLY | O_RDWR | O_CREAT) && fault(path) == EACCES) {
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = opened(path, flags, mode_of(flags, rest));
    va_end(rest);
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = opened(path, flags | O_LARGEFILE, mode_of(flags, rest));
    va_end(rest);
    return fd;
}
