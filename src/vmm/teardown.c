/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/teardown.h"

#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_SIZE 16384u

/* Runs on a stack of its own in the shared memory, with the caller's thread-local storage: system calls only. */
static int wait_for_parent(void *arg)
{
    const pid_t parent = (pid_t)(intptr_t)arg;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* the kernel ends us, and with us the last reference, when the parent is gone */
    if (getppid() != parent)
        syscall(SYS_exit, 0); /* gone already */
    sigset_t none;
    sigfillset(&none);
    while (sigsuspend(&none) < 0)
        continue;
    return 0;
}

/* What the helper keeps open, nobody sees closed: a pipe to the caller's caller, a lock, a socket. */
static void close_all_but(int a, int b)
{
    int low = a < b ? a : b, high = a < b ? b : a;
    if (low > 0)
        (void)syscall(SYS_close_range, 0u, (unsigned)low - 1, 0u);
    else if (low < 0 && high > 0)
        (void)syscall(SYS_close_range, 0u, (unsigned)high - 1, 0u);
    if (low >= 0 && high - low > 1)
        (void)syscall(SYS_close_range, (unsigned)low + 1, (unsigned)high - 1, 0u);
    (void)syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0u);
}

void teardown_in_background(int vm_fd, int scratch_fd)
{
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return;
    close_all_but(vm_fd, scratch_fd);
    (void)clone(wait_for_parent, (uint8_t *)stack + STACK_SIZE, CLONE_VM | CLONE_FILES, (void *)(intptr_t)getpid());
}
