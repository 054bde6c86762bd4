/* SPDX-License-Identifier: BSD-2-Clause */
/* The first process of the guest of boot.py: Linux is up, and its disk is there; resets the machine at once. Static. */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int load(const char *module)
{
    int fd = open(module, O_RDONLY);
    return fd < 0 ? -1 : (int)syscall(SYS_finit_module, fd, "", 0);
}

/* By sysrq, which stops no device first, and says so on the console. Whoever returns makes the kernel panic. */
int main(void)
{
    if (load("/virtio_blk.ko") == 0 && mkdir("/proc", 0755) == 0 && mount("none", "/proc", "proc", 0, NULL) == 0)
        (void)!write(open("/proc/sysrq-trigger", O_WRONLY), "b", 1);
    return 1;
}
