/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <ringd/models/hpet.h>

#include "fake_env.h"

#define ID      0x000u
#define CONFIG  0x010u
#define STATUS  0x020u
#define COUNTER 0x0f0u
#define TIMER   0x100u
#define COMPARE 0x108u
#define NEXT    0x20u

#define RUN    1u
#define LEGACY 2u

#define LEVEL    0x0002u
#define ENABLE   0x0004u
#define PERIODIC 0x0008u
#define SET      0x0040u
#define MODE32   0x0100u
#define ROUTE(n) ((n) << 9)

static struct fake_env fake;
static unsigned legacy_calls;
static bool legacy_on;

static void on_legacy(void *ctx, bool on)
{
    (void)ctx;
    legacy_calls++;
    legacy_on = on;
}

static int setup(void **state)
{
    const struct hpet_config config = {.legacy = on_legacy};
    (void)state;
    legacy_calls = 0;
    legacy_on = false;
    return fake_env_create(&fake, &hpet_ops, &config, 0);
}

static int teardown(void **state)
{
    (void)state;
    fake_env_destroy(&fake);
    return 0;
}

static unsigned region_of(uint64_t at)
{
    for (unsigned i = 0; i < HPET_REGIONS; i++)
        if (at - hpet_ops.regions[i].offset < hpet_ops.regions[i].size)
            return i;
    fail();
    return 0;
}

static uint64_t rd(uint64_t at, unsigned width)
{
    unsigned region = region_of(at);
    return fake_read(&fake, region, at - hpet_ops.regions[region].offset, width);
}

static void wr(uint64_t at, unsigned width, uint64_t value)
{
    unsigned region = region_of(at);
    fake_write(&fake, region, at - hpet_ops.regions[region].offset, width, value);
}

static void advance_counts(uint64_t counts)
{
    assert_true(fake_env_advance(&fake, counts * HPET_PERIOD_NS));
}

static void test_regions(void **state)
{
    (void)state;
    uint64_t at = 0;
    for (unsigned i = 0; i < HPET_REGIONS; i++) {
        const struct ringd_region *region = &hpet_ops.regions[i];
        bool comparator = i == HPET_COMPARATOR_0 || i == HPET_COMPARATOR_1 || i == HPET_COMPARATOR_2;
        assert_int_equal(region->offset, at);
        assert_int_equal(region->flags, comparator ? RINGD_POSTED : 0);
        if (comparator)
            assert_true(region->size == 8 && at % NEXT == 8);
        at += region->size;
    }
    assert_int_equal(at, 0x400);
}

static void test_identity_and_reset(void **state)
{
    (void)state;
    assert_int_equal(rd(ID, 8), 0x009896808086a201); /* 10,000,000 fs */
    assert_int_equal(rd(ID + 4, 4), 10000000);
    assert_true(rd(ID + 4, 4) <= 0x05f5e100);
    wr(ID, 8, 0);
    assert_int_equal(rd(ID, 4), 0x8086a201);
    wr(CONFIG, 4, RUN | LEGACY);
    wr(TIMER + NEXT, 4, 0xffffffff);
    assert_int_equal(rd(TIMER + NEXT, 8), UINT64_C(0x00f0000000000000) | 0x0000017e); /* no such route: 0 stays */
    wr(COMPARE + NEXT, 8, 77);
    advance_counts(5);
    hpet_ops.reset(fake.self);
    assert_int_equal(rd(CONFIG, 8), 0);
    assert_int_equal(rd(COUNTER, 8), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(rd(TIMER + i * NEXT, 8), UINT64_C(0x00f0000000000030));
        assert_int_equal(rd(COMPARE + i * NEXT, 8), UINT64_MAX);
        assert_int_equal(fake.deadline[i], RINGD_NEVER);
    }
    assert_true(legacy_calls == 2 && !legacy_on);
}

static void test_counter(void **state)
{
    (void)state;
    advance_counts(1000);
    assert_int_equal(rd(COUNTER, 8), 0);
    wr(COUNTER, 8, 0x1fffffff0);
    wr(CONFIG, 4, RUN);
    advance_counts(0x20);
    assert_int_equal(rd(COUNTER, 8), 0x200000010);
    assert_int_equal(rd(COUNTER, 4), 0x10);
    assert_int_equal(rd(COUNTER + 4, 4), 2);
    wr(CONFIG, 4, 0);
    advance_counts(7);
    assert_int_equal(rd(COUNTER, 8), 0x200000010);
    wr(COUNTER + 4, 4, 9);
    assert_int_equal(rd(COUNTER, 8), 0x900000010);
    wr(CONFIG, 4, RUN);
    advance_counts(3);
    assert_int_equal(rd(COUNTER, 8), 0x900000013);
}

static void test_narrow_and_unaligned(void **state)
{
    (void)state;
    wr(CONFIG, 2, RUN);
    wr(COUNTER + 1, 2, 0xffff);
    wr(COUNTER + 2, 4, 0xffff);
    wr(COUNTER + 4, 8, 0xffff);
    assert_int_equal(rd(CONFIG, 8), 0);
    assert_int_equal(rd(COUNTER, 8), 0);
    assert_int_equal(fake_counter(&fake, "ignored"), 4);
    assert_int_equal(rd(ID + 2, 2), 0x8086);
    assert_int_equal(rd(0x3f8, 8), 0);
}

static void test_one_shot_legacy(void **state)
{
    (void)state;
    wr(CONFIG, 4, RUN | LEGACY);
    assert_true(legacy_calls == 1 && legacy_on);
    wr(TIMER, 4, ENABLE);
    wr(TIMER + NEXT, 4, ENABLE);
    wr(COMPARE, 8, 100);
    wr(COMPARE + NEXT, 8, 150);
    assert_int_equal(fake.deadline[0], fake.now + 1000);
    advance_counts(99);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 0);
    advance_counts(1);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 1);
    assert_false(fake.irq[HPET_LINE_LEGACY_0]);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_1], 0);
    advance_counts(50);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_1], 1);
    assert_int_equal(fake.deadline[0], RINGD_NEVER);
    assert_int_equal(rd(STATUS, 8), 0); /* edges leave no status */
    wr(CONFIG, 4, RUN);
    assert_true(legacy_calls == 2 && !legacy_on);
    wr(COMPARE, 8, 200); /* now routed to nowhere */
    advance_counts(100);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 1);
}

static void test_32_bits(void **state)
{
    (void)state;
    wr(COUNTER, 8, 0x5fffffff0);
    wr(TIMER + 2 * NEXT, 4, ENABLE | MODE32 | ROUTE(21u));
    assert_int_equal(rd(COMPARE + 2 * NEXT, 8), UINT32_MAX);
    wr(COMPARE + 2 * NEXT, 8, 0xffffffff00000010);
    assert_int_equal(rd(COMPARE + 2 * NEXT, 8), 0x10);
    wr(CONFIG, 4, RUN);
    advance_counts(0x1f);
    assert_int_equal(fake.edges[HPET_LINE_20 + 1], 0);
    advance_counts(1);
    assert_int_equal(fake.edges[HPET_LINE_20 + 1], 1);
    advance_counts((UINT64_C(1) << 32) - 1);
    assert_int_equal(fake.edges[HPET_LINE_20 + 1], 1);
    advance_counts(1); /* a round later once more */
    assert_int_equal(fake.edges[HPET_LINE_20 + 1], 2);
}

/* As Linux starts a periodic tick: value, then period. */
static void test_periodic(void **state)
{
    (void)state;
    wr(CONFIG, 4, RUN | LEGACY);
    wr(TIMER, 4, ENABLE | PERIODIC | SET | MODE32);
    wr(COMPARE, 4, 100000);
    wr(COMPARE, 4, 20000);
    assert_int_equal(rd(TIMER, 4) & SET, 0);
    assert_int_equal(rd(COMPARE, 4), 100000);
    advance_counts(99999);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 0);
    advance_counts(1);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 1);
    assert_int_equal(rd(COMPARE, 4), 120000);
    advance_counts(200000);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 11);
    wr(TIMER, 4, PERIODIC | MODE32); /* off: it goes on in silence */
    assert_int_equal(fake.deadline[0], RINGD_NEVER);
    advance_counts(50000);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 11);
    assert_int_equal(rd(COMPARE, 4), 100000 + 20000 * 13);
    wr(TIMER, 4, ENABLE | PERIODIC | MODE32);
    advance_counts(10000);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 12);
}

/* The shortest period costs the host no more than an interrupt each 50 us. */
static void test_shortest_period(void **state)
{
    (void)state;
    wr(CONFIG, 4, RUN | LEGACY);
    wr(TIMER, 4, ENABLE | PERIODIC | SET);
    wr(COMPARE, 8, 1);
    assert_true(fake_env_advance(&fake, 10000000));
    assert_in_range(fake.edges[HPET_LINE_LEGACY_0], 190, 210);
    assert_true(fake_counter(&fake, "matches-skipped") > 900000);
    assert_int_equal(rd(COMPARE, 8), rd(COUNTER, 8) + 1);
    wr(TIMER, 4, ENABLE | PERIODIC);
    wr(COMPARE, 8, 0); /* no period at all: the last match */
    assert_true(fake_env_advance(&fake, 10000000));
    assert_int_equal(fake.deadline[0], RINGD_NEVER);
}

static void test_level(void **state)
{
    (void)state;
    wr(TIMER, 4, LEVEL | ENABLE | ROUTE(20u));
    wr(TIMER + NEXT, 4, LEVEL | ENABLE | ROUTE(20u));
    wr(TIMER + 2 * NEXT, 4, LEVEL | ROUTE(23u));
    for (unsigned i = 0; i < 3; i++)
        wr(COMPARE + i * NEXT, 8, 10);
    wr(CONFIG, 4, RUN);
    advance_counts(10);
    assert_int_equal(rd(STATUS, 8), 7); /* status also where the interrupt is off */
    assert_true(fake.irq[HPET_LINE_20] && !fake.irq[HPET_LINE_20 + 3]);
    wr(STATUS, 4, 1);
    assert_true(fake.irq[HPET_LINE_20]); /* the other one holds it */
    wr(STATUS, 8, 2);
    assert_false(fake.irq[HPET_LINE_20]);
    assert_int_equal(fake.edges[HPET_LINE_20], 1);
    assert_int_equal(rd(STATUS, 8), 4);
    wr(TIMER + 2 * NEXT, 4, LEVEL | ENABLE | ROUTE(23u));
    assert_true(fake.irq[HPET_LINE_20 + 3]);
    wr(TIMER + 2 * NEXT, 4, ENABLE | ROUTE(23u));
    assert_false(fake.irq[HPET_LINE_20 + 3]);
    assert_int_equal(rd(STATUS, 8), 0);
    wr(TIMER, 4, ENABLE | ROUTE(19u));
    assert_int_equal(rd(TIMER, 4) >> 9 & 31, 20);
}

/* A comparator that was posted and replayed after its match has matched. */
static void test_late_comparator(void **state)
{
    (void)state;
    wr(CONFIG, 4, RUN | LEGACY);
    wr(TIMER, 4, ENABLE);
    advance_counts(UINT64_C(3) << 32);
    wr(TIMER + NEXT, 4, ENABLE | MODE32);
    wr(COMPARE, 8, (UINT64_C(3) << 32) - 100000);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], 1);
    wr(COMPARE + NEXT, 4, UINT32_MAX - 100000);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_1], 1);
    assert_int_equal(fake_counter(&fake, "late"), 2);
    wr(COMPARE, 8, 5); /* too far behind */
    wr(COMPARE + NEXT, 4, UINT32_MAX / 2);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0] + fake.edges[HPET_LINE_LEGACY_1], 2);
    assert_int_equal(fake.deadline[0], RINGD_NEVER);
    advance_counts(UINT32_MAX / 2);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_1], 2);
}

static void test_state(void **state)
{
    uint8_t saved[512], again[512];
    size_t size = hpet_ops.state_size(fake.self);
    (void)state;
    assert_true(size <= sizeof(saved));
    wr(CONFIG, 4, RUN | LEGACY);
    wr(TIMER, 4, ENABLE | PERIODIC | SET);
    wr(COMPARE, 8, 30000);
    wr(TIMER + 2 * NEXT, 4, LEVEL | ENABLE | ROUTE(22u));
    wr(COMPARE + 2 * NEXT, 8, 40);
    advance_counts(45000);
    hpet_ops.save(fake.self, saved);
    hpet_ops.reset(fake.self);
    assert_false(fake.irq[HPET_LINE_20 + 2]);
    assert_int_equal(hpet_ops.load(fake.self, saved, size), 0);
    assert_true(legacy_on && fake.irq[HPET_LINE_20 + 2]);
    hpet_ops.save(fake.self, again);
    assert_memory_equal(saved, again, size);
    unsigned before = fake.edges[HPET_LINE_LEGACY_0];
    advance_counts(14999);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], before);
    advance_counts(1);
    assert_int_equal(fake.edges[HPET_LINE_LEGACY_0], before + 1);
    assert_int_equal(hpet_ops.load(fake.self, saved, size - 1), -EINVAL);
    for (unsigned i = 0; i < 4; i++) {
        const unsigned bad[] = {0, 7, 8, 24}; /* version, configuration, status, base_ns */
        memcpy(again, saved, size);
        again[bad[i] == 24 ? 27 : bad[i]] ^= 0xf8;
        assert_int_equal(hpet_ops.load(fake.self, again, size), -EINVAL);
    }
    assert_int_equal(rd(COMPARE, 8), 90000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_regions),         TEST(test_identity_and_reset),
        TEST(test_counter),         TEST(test_narrow_and_unaligned),
        TEST(test_one_shot_legacy), TEST(test_32_bits),
        TEST(test_periodic),        TEST(test_shortest_period),
        TEST(test_level),           TEST(test_late_comparator),
        TEST(test_state),
    };
    return cmocka_run_group_tests_name("hpet", tests, NULL, NULL);
}
