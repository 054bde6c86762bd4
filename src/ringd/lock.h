/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lock of rings and devices: a priority-inheriting futex (futex(2), FUTEX_LOCK_PI). A vCPU takes and leaves one for
 * each exit, so the way without contention is one instruction each, inlined; with contention the kernel does all of it,
 * and a real-time ring thread does not wait for an ordinary vCPU thread that has been preempted.
 */
#ifndef RINGD_LOCK_H
#define RINGD_LOCK_H

#include <stdbool.h>
#include <stdint.h>

struct ringd_lock {
    uint32_t word;    /* 0: free; the owner's thread ID; FUTEX_WAITERS is set by the kernel */
    unsigned waiters; /* vCPU threads that wait; atomic, relaxed: a hint to the ring thread */
};

/* The calling thread's ID, asked for once. In a shared library too it is a load away, not a call. */
extern _Thread_local uint32_t lock_thread_id __attribute__((tls_model("initial-exec")));
uint32_t lock_ask_thread_id(void);
/* 0, or -ENOSYS where the kernel has no priority-inheriting futexes. */
int lock_supported(void);
void lock_wait(struct ringd_lock *lock);
void lock_wake(struct ringd_lock *lock);

static inline uint32_t lock_self(void)
{
    uint32_t self = lock_thread_id;
    return __builtin_expect(self != 0, 1) ? self : lock_ask_thread_id();
}

static inline bool lock_try(struct ringd_lock *lock)
{
    uint32_t none = 0;
    return __atomic_compare_exchange_n(&lock->word, &none, lock_self(), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void lock_take(struct ringd_lock *lock)
{
    if (__builtin_expect(!lock_try(lock), 0))
        lock_wait(lock);
}

static inline void lock_leave(struct ringd_lock *lock)
{
    uint32_t self = lock_self();
    if (__builtin_expect(!__atomic_compare_exchange_n(&lock->word, &self, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED),
                         0))
        lock_wake(lock);
}

/* As lock_wait(), for a vCPU: the ring thread gives way to those. Returns the cycles that it took. */
uint64_t lock_wait_from_vcpu(struct ringd_lock *lock);

#endif
