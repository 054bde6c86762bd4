/* SPDX-License-Identifier: BSD-2-Clause */
#include "clock.h"

#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

#define LOOPS        20000
#define INSTRUCTIONS (10.0 * LOOPS) /* each loop below has ten instructions */
#define TRIES        5

static void cheap(void)
{
    uint64_t left = LOOPS;

    __asm__ volatile("1: .rept 8\n\tnop\n\t.endr\n\tdec %0\n\tjnz 1b" : "+r"(left) : : "cc");
}

static void dependent(void)
{
    uint64_t left = LOOPS, product = 1;

    __asm__ volatile("1: .rept 8\n\timul %2, %1\n\t.endr\n\tdec %0\n\tjnz 1b"
                     : "+r"(left), "+r"(product)
                     : "r"((uint64_t)3)
                     : "cc");
}

static void dear(void)
{
    uint64_t left = LOOPS, low = UINT64_MAX, high = 0;

    __asm__ volatile("1: .rept 4\n\txor %%edx, %%edx\n\tdiv %3\n\t.endr\n\tdec %0\n\tjnz 1b"
                     : "+r"(left), "+a"(low), "+d"(high)
                     : "r"((uint64_t)3)
                     : "cc");
}

static double now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static bool is_one(double value)
{
    return value > 0.99 && value < 1.01;
}

/* One try is enough that no interrupt fell into. */
static bool takes_one_each(void (*loop)(void))
{
    for (int i = 0; i < TRIES; i++) {
        double ns = now_ns();
        uint64_t ticks = __rdtsc();

        loop();
        ticks = __rdtsc() - ticks;
        ns = now_ns() - ns;
        if (is_one((double)ticks / INSTRUCTIONS) && is_one(ns / INSTRUCTIONS))
            return true;
    }
    return false;
}

bool bench_clock_counts_instructions(void)
{
    static void (*const loops[])(void) = {cheap, dependent, dear};

    for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
        if (!takes_one_each(loops[i]))
            return false;
    }
    return true;
}
