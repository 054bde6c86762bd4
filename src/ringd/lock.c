/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cycles.h"

/* A lock that the kernel hands over is taken and left outside of what TSan sees; these two lines show it. */
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define SHOW_TAKEN(lock) __tsan_acquire(lock)
#define SHOW_LEFT(lock)  __tsan_release(lock)
#else
#define SHOW_TAKEN(lock) ((void)(lock))
#define SHOW_LEFT(lock)  ((void)(lock))
#endif

_Thread_local uint32_t lock_thread_id;

uint32_t lock_ask_thread_id(void)
{
    lock_thread_id = (uint32_t)syscall(SYS_gettid);
    return lock_thread_id;
}

int lock_supported(void)
{
    uint32_t free_word = 0;
    if (syscall(SYS_futex, &free_word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0) < 0)
        return -errno;
    return syscall(SYS_futex, &free_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) < 0 ? -errno : 0;
}

void lock_wait(struct ringd_lock *lock)
{
    /* Signals restart it in the kernel. EAGAIN: the owner is about to end. ENOMEM: the kernel has no memory for its
     * queue just now. Everything else is a broken lock. */
    while (syscall(SYS_futex, &lock->word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ENOMEM)
            abort();
        sched_yield();
    }
    SHOW_TAKEN(lock);
}

void lock_wake(struct ringd_lock *lock)
{
    SHOW_LEFT(lock);
    if (syscall(SYS_futex, &lock->word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0) < 0)
        abort();
}

uint64_t lock_wait_from_vcpu(struct ringd_lock *lock)
{
    uint64_t start = cycles_now();
    __atomic_fetch_add(&lock->waiters, 1, __ATOMIC_RELAXED);
    lock_wait(lock);
    __atomic_fetch_sub(&lock->waiters, 1, __ATOMIC_RELAXED);
    return cycles_now() - start;
}
