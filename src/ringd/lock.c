/* SPDX-License-Identifier: BSD-2-Clause */
#include "ringd/internal.h"

int lock_init(struct ringd_lock *lock, bool inherit_priority)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    if (inherit_priority) /* a real-time ring thread must not wait for an ordinary vCPU thread that is preempted */
        pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    int error = pthread_mutex_init(&lock->mutex, &attr);
    pthread_mutexattr_destroy(&attr);
    lock->waiters = 0;
    return -error;
}

void lock_from_vcpu(struct ringd_lock *lock, uint64_t *waited, unsigned *waits)
{
    if (__builtin_expect(pthread_mutex_trylock(&lock->mutex) == 0, 1))
        return;
    uint64_t start = cycles_now();
    __atomic_fetch_add(&lock->waiters, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&lock->mutex);
    __atomic_fetch_sub(&lock->waiters, 1, __ATOMIC_RELAXED);
    *waited += cycles_now() - start;
    ++*waits;
}
