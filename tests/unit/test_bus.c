/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "vmm/bus.h"

/* Devices are only pointers to the bus. */
static char device_bytes[BUS_MAX_RANGES + 1];

static struct ringd_dev *device(unsigned i)
{
    return (struct ringd_dev *)(void *)&device_bytes[i];
}

static struct bus_range range(uint64_t first, uint64_t last, unsigned dev, unsigned region)
{
    return (struct bus_range){
        .first = first, .last = last, .dev = device(dev), .region = region, .row = dev * 10, .row_step = dev & 1};
}

static int add(struct bus *bus, enum ringd_space space, uint64_t first, uint64_t last, unsigned dev, unsigned region)
{
    struct bus_range r = range(first, last, dev, region);
    return bus_add(bus, space, &r);
}

static int setup(void **state)
{
    static struct bus bus;
    bus_init(&bus);
    *state = &bus;
    return 0;
}

static int teardown(void **state)
{
    bus_destroy(*state);
    return 0;
}

static void lookup(void **state)
{
    struct bus *bus = *state;
    static const struct {
        uint64_t addr;
        int dev;       /* -1: a hole */
        uint64_t next; /* of a hole: where the next range starts */
    } cases[] = {
        {0, -1, 0x60},
        {0x5f, -1, 0x60},
        {0x60, 1, 0},
        {0x61, -1, 0x64},
        {0x63, -1, 0x64},
        {0x64, 2, 0},
        {0x65, -1, 0x70},
        {0x70, 3, 0},
        {0x71, 4, 0},
        {0x72, -1, 0xcf8},
        {0xcf7, -1, 0xcf8},
        {0xcf8, 5, 0},
        {0xcfa, 5, 0},
        {0xcff, 5, 0},
        {0xd00, -1, 0xffff},
        {0xffff, 6, 0},
        {0x10000, -1, UINT64_MAX},
        {UINT64_MAX, -1, UINT64_MAX},
    };
    /* In no order. */
    assert_int_equal(add(bus, RINGD_PIO, 0x70, 0x70, 3, 0), 0);
    assert_int_equal(add(bus, RINGD_PIO, 0xffff, 0xffff, 6, 2), 0);
    assert_int_equal(add(bus, RINGD_PIO, 0x60, 0x60, 1, 0), 0);
    assert_int_equal(add(bus, RINGD_PIO, 0x71, 0x71, 4, 1), 0);
    assert_int_equal(add(bus, RINGD_PIO, 0xcf8, 0xcff, 5, 0), 0);
    assert_int_equal(add(bus, RINGD_PIO, 0x64, 0x64, 2, 0), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bus_range found;
        bool hit = bus_find(bus, RINGD_PIO, cases[i].addr, &found);
        assert_int_equal(hit, cases[i].dev >= 0);
        if (hit) {
            unsigned dev = (unsigned)cases[i].dev;
            assert_ptr_equal(found.dev, device(dev));
            assert_true(found.first <= cases[i].addr && cases[i].addr <= found.last);
            assert_int_equal(found.row, dev * 10);
            assert_int_equal(found.row_step, dev & 1);
        } else {
            assert_int_equal(found.first, cases[i].next);
        }
        assert_false(bus_find(bus, RINGD_MMIO, cases[i].addr, &found)); /* the other space is another world */
        assert_int_equal(found.first, UINT64_MAX);
    }
}

static void whole_space(void **state)
{
    struct bus *bus = *state;
    struct bus_range found;
    assert_int_equal(add(bus, RINGD_MMIO, 0, UINT64_MAX, 1, 0), 0);
    assert_true(bus_find(bus, RINGD_MMIO, 0, &found));
    assert_true(bus_find(bus, RINGD_MMIO, UINT64_MAX, &found));
    assert_int_equal(add(bus, RINGD_MMIO, UINT64_MAX, UINT64_MAX, 2, 0), -EEXIST);
    bus_remove(bus, RINGD_MMIO, device(1), 0);
    assert_int_equal(add(bus, RINGD_MMIO, UINT64_MAX, UINT64_MAX, 2, 0), 0);
    assert_true(bus_find(bus, RINGD_MMIO, UINT64_MAX, &found));
    assert_false(bus_find(bus, RINGD_MMIO, UINT64_MAX - 1, &found));
    assert_int_equal(found.first, UINT64_MAX);
}

static void overlap(void **state)
{
    struct bus *bus = *state;
    static const struct {
        uint64_t first, last;
        int ret;
    } cases[] = {
        {0x100, 0x1ff, -EEXIST}, {0x0, 0x100, -EEXIST}, {0x1ff, 0x300, -EEXIST}, {0x150, 0x150, -EEXIST},
        {0x0, 0xffff, -EEXIST},  {0x0, 0xff, 0},        {0x200, 0x2ff, 0},
    };
    assert_int_equal(add(bus, RINGD_MMIO, 0x100, 0x1ff, 0, 0), 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bus_range found;
        assert_int_equal(add(bus, RINGD_MMIO, cases[i].first, cases[i].last, i + 1, 0), cases[i].ret);
        assert_true(bus_find(bus, RINGD_MMIO, 0x150, &found));
        assert_ptr_equal(found.dev, device(0));
        if (!cases[i].ret)
            bus_remove(bus, RINGD_MMIO, device(i + 1), 0);
    }
    assert_int_equal(add(bus, RINGD_PIO, 0x100, 0x1ff, 1, 0), 0); /* ports do not collide with memory */
}

static void full(void **state)
{
    struct bus *bus = *state;
    struct bus_range found;
    for (unsigned i = 0; i < BUS_MAX_RANGES; i++)
        assert_int_equal(add(bus, RINGD_PIO, (i * 37 % BUS_MAX_RANGES) * 16, (i * 37 % BUS_MAX_RANGES) * 16 + 7, i, 0),
                         0);
    assert_int_equal(add(bus, RINGD_PIO, 8, 8, BUS_MAX_RANGES, 0), -ENOSPC);
    assert_int_equal(add(bus, RINGD_PIO, 7, 8, BUS_MAX_RANGES, 0), -EEXIST);
    assert_false(bus_find(bus, RINGD_PIO, 8, &found));
    for (unsigned i = 0; i < BUS_MAX_RANGES; i++) {
        uint64_t first = (i * 37 % BUS_MAX_RANGES) * 16;
        assert_true(bus_find(bus, RINGD_PIO, first + 7, &found));
        assert_ptr_equal(found.dev, device(i));
        assert_int_equal(found.first, first);
    }
    assert_int_equal(add(bus, RINGD_MMIO, 8, 8, BUS_MAX_RANGES, 0), 0);
    bus_remove(bus, RINGD_PIO, device(5), 0);
    assert_int_equal(add(bus, RINGD_PIO, 8, 8, BUS_MAX_RANGES, 0), 0);
}

static void removal(void **state)
{
    struct bus *bus = *state;
    struct bus_range found;
    for (unsigned region = 0; region < 3; region++)
        assert_int_equal(add(bus, RINGD_PIO, region * 0x10, region * 0x10 + 3, 1, region), 0);
    bus_remove(bus, RINGD_PIO, device(1), 7);  /* no such region */
    bus_remove(bus, RINGD_PIO, device(2), 1);  /* another's */
    bus_remove(bus, RINGD_MMIO, device(1), 1); /* another space */
    assert_true(bus_find(bus, RINGD_PIO, 0x11, &found));
    bus_remove(bus, RINGD_PIO, device(1), 1);
    assert_false(bus_find(bus, RINGD_PIO, 0x11, &found));
    assert_int_equal(found.first, 0x20);
    assert_int_equal(found.region, 2);
    bus_remove(bus, RINGD_PIO, device(1), 1);
    bus_remove(bus, RINGD_PIO, device(1), 2);
    assert_false(bus_find(bus, RINGD_PIO, 0x11, &found));
    assert_int_equal(found.first, UINT64_MAX);
    assert_true(bus_find(bus, RINGD_PIO, 3, &found));
    bus_remove(bus, RINGD_PIO, device(1), 0);
    assert_false(bus_find(bus, RINGD_PIO, 3, &found));
}

/*
 * A BAR moves from below a hundred ranges to above them and back, which changes the index of each, while vCPUs look at
 * all of them. Each field of a range tells whose it is, so a result mixed of two ranges or two states shows.
 */
#define MOVES   5000u
#define ROUNDS  200u
#define STILL   100u
#define LOW_AT  0x1000u
#define HIGH_AT 0x100000u

struct race {
    struct bus *bus;
    unsigned done, torn, rounds; /* atomic */
};

static uint64_t still_at(unsigned i)
{
    return 0x10000 + i * UINT64_C(0x1000);
}

static struct bus_range numbered(uint64_t first, uint64_t size, unsigned number)
{
    return (struct bus_range){.first = first,
                              .last = first + size - 1,
                              .dev = device(number),
                              .region = 1000 + number,
                              .row = 2000 + number,
                              .row_step = number & 1};
}

static bool same(const struct bus_range *a, const struct bus_range *b)
{
    return a->first == b->first && a->last == b->last && a->dev == b->dev && a->region == b->region &&
           a->row == b->row && a->row_step == b->row_step;
}

/* STILL is the BAR's number below, STILL + 1 above. */
static void move_to(struct bus *bus, uint64_t at)
{
    struct bus_range low = numbered(LOW_AT, 0x100, STILL), high = numbered(HIGH_AT, 0x100, STILL + 1);
    bus_remove(bus, RINGD_MMIO, low.dev, low.region);
    bus_remove(bus, RINGD_MMIO, high.dev, high.region);
    assert_int_equal(bus_add(bus, RINGD_MMIO, at == LOW_AT ? &low : &high), 0);
}

static unsigned look_at_bar(const struct bus *bus, uint64_t at, unsigned number)
{
    struct bus_range found, bar = numbered(at, 0x100, number), lowest = numbered(still_at(0), 0x800, 0);
    if (bus_find(bus, RINGD_MMIO, at + 0xff, &found))
        return !same(&found, &bar);
    return at == LOW_AT ? !same(&found, &lowest) : found.first != UINT64_MAX;
}

static void *reader(void *arg)
{
    struct race *race = arg;
    unsigned torn = 0;
    while (!__atomic_load_n(&race->done, __ATOMIC_ACQUIRE)) {
        for (unsigned i = 0; i < STILL; i++) {
            struct bus_range found, expected = numbered(still_at(i), 0x800, i);
            torn += !bus_find(race->bus, RINGD_MMIO, still_at(i) + 0x7ff, &found); /* never gone */
            torn += !same(&found, &expected);
            torn += look_at_bar(race->bus, LOW_AT, STILL) + look_at_bar(race->bus, HIGH_AT, STILL + 1);
        }
        __atomic_fetch_add(&race->rounds, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&race->torn, torn, __ATOMIC_RELAXED);
    return NULL;
}

static void readers_against_a_move(void **state)
{
    struct race race = {.bus = *state};
    pthread_t threads[2];
    for (unsigned i = 0; i < STILL; i++) {
        struct bus_range still = numbered(still_at(i), 0x800, i);
        assert_int_equal(bus_add(race.bus, RINGD_MMIO, &still), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &race), 0);
    for (unsigned i = 0; i < MOVES || __atomic_load_n(&race.rounds, __ATOMIC_RELAXED) < ROUNDS; i++) {
        move_to(race.bus, i & 1 ? LOW_AT : HIGH_AT);
        if (i % 16 == 0)
            sched_yield(); /* the readers retry for as long as the table changes */
    }
    __atomic_store_n(&race.done, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(race.torn, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lookup, setup, teardown),
        cmocka_unit_test_setup_teardown(whole_space, setup, teardown),
        cmocka_unit_test_setup_teardown(overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(full, setup, teardown),
        cmocka_unit_test_setup_teardown(removal, setup, teardown),
        cmocka_unit_test_setup_teardown(readers_against_a_move, setup, teardown),
    };

    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
