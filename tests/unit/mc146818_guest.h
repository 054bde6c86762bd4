/* SPDX-License-Identifier: BSD-2-Clause */
/* What a guest does with an MC146818, for its tests. Included once by each. */
#ifndef MC146818_GUEST_H
#define MC146818_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include <ringd/models/mc146818.h>

#include "devices/mc146818_time.h"
#include "fake_env.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

#define CENTURY MC146818_DEFAULT_CENTURY
#define RUN(rs) (uint8_t)(0x20 | (rs))

static inline uint8_t rd(struct fake_env *f, unsigned reg)
{
    fake_write(f, MC146818_INDEX, 0, 1, reg);
    return (uint8_t)fake_read(f, MC146818_DATA, 0, 1);
}

static inline void wr(struct fake_env *f, unsigned reg, uint8_t value)
{
    fake_write(f, MC146818_INDEX, 0, 1, reg);
    fake_write(f, MC146818_DATA, 0, 1, value);
}

static inline void go(struct fake_env *f, uint64_t ns)
{
    assert_true(fake_env_advance(f, ns));
}

/* A machine whose clock shows `seconds` since 1970 exactly at now() = 0, on the VM's clock. */
static inline void start(struct fake_env *f, int64_t seconds, enum mc146818_lost_ticks lost)
{
    struct mc146818_config config = {
        .base = MC146818_BASE_DATE, .base_ns = seconds * (int64_t)S, .clock = MC146818_CLOCK_VM, .lost_ticks = lost};
    assert_int_equal(fake_env_create(f, &mc146818_ops, &config, 0), 0);
}

struct bytes {
    uint8_t b[TIME_BYTES]; /* seconds, minutes, hours, day of week, date, month, year, century */
};

static const uint8_t order[TIME_BYTES] = {SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DATE, MONTH, YEAR, CENTURY};

static inline void set_time(struct fake_env *f, const struct bytes *t)
{
    uint8_t b = rd(f, REG_B);
    wr(f, REG_B, b | B_SET);
    for (unsigned i = 0; i < TIME_BYTES; i++)
        wr(f, order[i], t->b[i]);
    wr(f, REG_B, b);
}

/* Reads REG_A, then every byte with `gap` before each. */
static inline struct bytes get_time(struct fake_env *f, uint64_t gap)
{
    struct bytes t;
    rd(f, REG_A);
    for (unsigned i = 0; i < TIME_BYTES; i++) {
        go(f, gap);
        t.b[i] = rd(f, order[i]);
    }
    return t;
}

static inline void assert_time(struct fake_env *f, const struct bytes *want)
{
    struct bytes got = get_time(f, 0);
    assert_memory_equal(got.b, want->b, TIME_BYTES);
}

static inline void assert_idle(struct fake_env *f)
{
    for (unsigned i = 0; i < FAKE_TIMERS; i++)
        assert_true(f->deadline[i] == RINGD_NEVER);
}

#endif
