/* SPDX-License-Identifier: BSD-2-Clause */
/* By itself, because the kernel's header of struct sched_attr and libc's <sched.h> define the same things. */
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ringd/slice.h"

/*
 * The thread runs for microseconds at a time and is late when it has to wait for a vCPU on its CPU to end a slice of
 * milliseconds. Since 6.12 an ordinary thread may ask for a slice of its own, the least being 0.1 ms, and one with a
 * short slice gets the CPU sooner as it wakes (kernel/sched/syscalls.c, __setparam_fair(); kernel/sched/features.h,
 * PREEMPT_SHORT). It takes no privilege and gives no larger share. Older kernels ignore it.
 */
void thread_shorten_slice(void)
{
    struct sched_attr attr = {.size = sizeof(attr)};
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) < 0 || attr.sched_policy != SCHED_NORMAL)
        return;
    attr.sched_runtime = 100000; /* ns */
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}
