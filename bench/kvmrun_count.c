/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counts the returns of ioctl(KVM_RUN) in a process, from outside of it:
 *   LD_PRELOAD=kvmrun_count.so RINGVMM_KVMRUN_COUNT=FILE program ...
 * At the process's exit() the number is written to FILE, as text with a newline.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_ullong returns;

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
    va_list args;

    va_start(args, request);
    unsigned long arg = va_arg(args, unsigned long);
    va_end(args);

    long result = syscall(SYS_ioctl, fd, request, arg);
    if (request == KVM_RUN)
        atomic_fetch_add_explicit(&returns, 1, memory_order_relaxed);
    return (int)result;
}

__attribute__((destructor)) static void write_count(void)
{
    const char *path = getenv("RINGVMM_KVMRUN_COUNT");
    char text[24];

    if (!path)
        return;
    int n = snprintf(text, sizeof(text), "%llu\n", atomic_load(&returns));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        (void)dprintf(STDERR_FILENO, "kvmrun_count: the count could not be written to %s\n", path);
    if (fd >= 0)
        (void)close(fd);
}
