/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For LD_PRELOAD: a host with less KVM than this one. CLI_TEST_OPEN_ERRNO is the errno with which /dev/kvm cannot be
 * opened, CLI_TEST_NO_CAPABILITY the number of one that KVM_CHECK_EXTENSION denies. And a disk that fails:
 * CLI_TEST_SYNC_ERRNO is msync()'s. Nothing else changes.
 */
#undef _FILE_OFFSET_BITS /* which would give open() here the name open64 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static int number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static int refused(const char *path)
{
    int error = number("CLI_TEST_OPEN_ERRNO");
    if (!error || strcmp(path, "/dev/kvm") != 0)
        return 0;
    errno = error;
    return 1;
}

static int open_next(const char *symbol, const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, ...);
    *(void **)&next = dlsym(RTLD_NEXT, symbol);
    return refused(path) ? -1 : next(path, flags, mode);
}

/* The C library has the same function under two names; which one a program calls depends on how it was compiled. */
#define DEFINE_OPEN(name)                                                                                              \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list args;                                                                                                  \
        va_start(args, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;                                        \
        va_end(args);                                                                                                  \
        return open_next(#name, path, flags, mode);                                                                    \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

int msync(void *addr, size_t length, int flags)
{
    int (*next)(void *, size_t, int);
    int error = number("CLI_TEST_SYNC_ERRNO");
    *(void **)&next = dlsym(RTLD_NEXT, "msync");
    if (!error)
        return next(addr, length, flags);
    errno = error;
    return -1;
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, ...);
    va_list args;
    va_start(args, request);
    void *argument = va_arg(args, void *);
    va_end(args);
    int denied = number("CLI_TEST_NO_CAPABILITY");
    if (denied && request == KVM_CHECK_EXTENSION && (int)(long)argument == denied)
        return 0;
    *(void **)&next = dlsym(RTLD_NEXT, "ioctl");
    return next(fd, request, argument);
}
