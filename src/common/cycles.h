/* SPDX-License-Identifier: BSD-2-Clause */
/* Time stamps for statistics: one instruction each, turned into nanoseconds only when somebody reads them. */
#ifndef RINGD_CYCLES_H
#define RINGD_CYCLES_H

#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

/* The time-stamp counter: for statistics, where a host whose TSCs disagree shows odd figures and nothing worse; for
 * env_before(), which trusts it only where the kernel does; and for how often a vCPU puts a look off, where an error
 * costs system calls or looks. */
static inline uint64_t cycles_now(void)
{
    return __rdtsc();
}

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Where both clocks stood at one moment; the rate follows from a second look later. */
struct cycles_base {
    uint64_t cycles;
    uint64_t ns;
};

static inline struct cycles_base cycles_base(void)
{
    return (struct cycles_base){.cycles = cycles_now(), .ns = monotonic_ns()};
}

/* Nanoseconds per cycle, from the time that has passed since `base` was taken: good to 0.1 % after a millisecond. */
static inline double cycles_to_ns(const struct cycles_base *base)
{
    uint64_t ns = monotonic_ns() - base->ns, cycles = cycles_now() - base->cycles;
    return cycles ? (double)ns / (double)cycles : 1.0;
}

#endif
