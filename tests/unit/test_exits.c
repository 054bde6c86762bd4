/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "vmm/exits.h"

static uint64_t random_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* The standard error of the mean in percent of it, in two passes over the samples themselves. */
static double spread_of(const uint64_t *samples, unsigned count)
{
    double mean = 0, squares = 0;
    for (unsigned i = 0; i < count; i++)
        mean += (double)samples[i] / count;
    for (unsigned i = 0; i < count; i++)
        squares += ((double)samples[i] - mean) * ((double)samples[i] - mean);
    return 100 * sqrt(squares / (count - 1) / count) / mean;
}

static void same_stat(const struct exit_stat *a, const struct exit_stat *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->cycles, b->cycles);
    assert_int_equal(a->cycles_min, b->cycles_min);
    assert_int_equal(a->cycles_max, b->cycles_max);
    assert_true(fabs(a->cycles_squared - b->cycles_squared) <= 1e-9 * b->cycles_squared);
}

static void adding(void **state)
{
    enum { SAMPLES = 5000 };
    static uint64_t samples[SAMPLES];
    struct exit_stat stat = {0};
    uint64_t seed = 1, sum = 0, min = UINT64_MAX, max = 0;
    (void)state;
    for (unsigned i = 0; i < SAMPLES; i++) {
        samples[i] = 20000 + random_next(&seed) % 5000;
        sum += samples[i];
        min = samples[i] < min ? samples[i] : min;
        max = samples[i] > max ? samples[i] : max;
        exit_stat_add(&stat, samples[i]);
    }
    assert_int_equal(stat.count, SAMPLES);
    assert_int_equal(stat.cycles, sum);
    assert_int_equal(stat.cycles_min, min);
    assert_int_equal(stat.cycles_max, max);
    double expected = spread_of(samples, SAMPLES);
    assert_true(fabs(exit_stat_spread(&stat) - expected) < 1e-6 * expected);
}

/* A sample of no cycles is a minimum too, and two clock readings may be equal. */
static void least(void **state)
{
    struct exit_stat stat = {0};
    (void)state;
    assert_true(exit_stat_spread(&stat) == 0);
    exit_stat_add(&stat, 0);
    exit_stat_add(&stat, 0);
    assert_int_equal(stat.count, 2);
    assert_int_equal(stat.cycles_max, 0);
    assert_true(exit_stat_spread(&stat) == 0);
    exit_stat_add(&stat, 9);
    assert_int_equal(stat.cycles_min, 0);
    assert_int_equal(stat.cycles_max, 9);
}

static void spread(void **state)
{
    static const uint64_t pair[] = {100, 300};
    struct exit_stat stat = {0};
    (void)state;
    exit_stat_add(&stat, 100);
    assert_true(exit_stat_spread(&stat) == 0); /* one sample has no spread */
    exit_stat_add(&stat, 300);
    assert_true(fabs(exit_stat_spread(&stat) - 50) < 1e-9); /* mean 200, deviation 141.4, error of the mean 100 */
    assert_true(fabs(exit_stat_spread(&stat) - spread_of(pair, 2)) < 1e-9);

    struct exit_stat equal = {0}; /* rounding may take the variance below zero: never a NaN */
    for (unsigned i = 0; i < 1000; i++)
        exit_stat_add(&equal, UINT64_C(12345678901));
    assert_true(exit_stat_spread(&equal) >= 0 && exit_stat_spread(&equal) < 1e-3);
}

static void merging(void **state)
{
    (void)state;
    for (unsigned split = 0; split <= 64; split++) {
        struct exit_stat parts[2] = {0}, merged = {0}, whole = {0};
        uint64_t seed = split + 1;
        for (unsigned i = 0; i < 64; i++) {
            uint64_t cycles = 1 + random_next(&seed) % 100000;
            exit_stat_add(&parts[i >= split], cycles);
            exit_stat_add(&whole, cycles);
        }
        exit_stat_merge(&merged, &parts[0]);
        exit_stat_merge(&merged, &parts[1]);
        same_stat(&merged, &whole);
    }
}

/* An empty part has a minimum of 0, which is none. */
static void merging_nothing(void **state)
{
    struct exit_stat to = {0}, nothing = {0};
    (void)state;
    exit_stat_merge(&to, &nothing);
    assert_int_equal(to.count, 0);
    exit_stat_add(&to, 50);
    exit_stat_merge(&to, &nothing);
    assert_int_equal(to.count, 1);
    assert_int_equal(to.cycles_min, 50);
}

static void strays_are_told_apart(void **state)
{
    static struct exits exits;
    (void)state;
    memset(&exits, 0, sizeof(exits));
    struct exit_stat *stats[] = {
        exits_stray(&exits, false, 0x3f8, false), exits_stray(&exits, false, 0x3f8, true),
        exits_stray(&exits, true, 0x3f8, false),  exits_stray(&exits, true, 0x3f8, true),
        exits_stray(&exits, false, 0x3f9, false), exits_stray(&exits, true, 0xfed00000, false),
    };
    for (unsigned i = 0; i < 6; i++) {
        assert_ptr_not_equal(stats[i], &exits.other);
        for (unsigned j = 0; j < i; j++)
            assert_ptr_not_equal(stats[i], stats[j]);
    }
    assert_ptr_equal(exits_stray(&exits, false, 0x3f8, true), stats[1]);
}

/* More addresses than there is room for: each keeps its own place or counts in `other`, and none is lost. */
static void strays_overflow(void **state)
{
    enum { ADDRESSES = 1000, ROUNDS = 3 };
    static struct exits exits;
    static const struct exit_stat *place[ADDRESSES];
    uint64_t named = 0;
    (void)state;
    memset(&exits, 0, sizeof(exits));
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint64_t i = 0; i < ADDRESSES; i++) {
            struct exit_stat *stat = exits_stray(&exits, i & 1, 0xe0000000 + i * 4096, i & 2);
            if (round == 0)
                place[i] = stat;
            assert_ptr_equal(stat, place[i]);
            exit_stat_add(stat, i);
        }
    }
    for (unsigned i = 0; i < EXITS_STRAYS; i++) {
        assert_true(exits.strays[i].used);
        assert_int_equal(exits.strays[i].stat.count, ROUNDS);
        named += exits.strays[i].stat.count;
    }
    assert_int_equal(exits.other.count, ADDRESSES * ROUNDS - named);
    assert_int_equal(exits_total(&exits), ADDRESSES * ROUNDS);
}

/* Two vCPUs' tables, of whose strays not all fit into one: the sum is still right. */
static void merging_tables(void **state)
{
    static struct exits vcpus[2], sum;
    uint64_t seed = 7, count = 0, cycles = 0;
    (void)state;
    memset(vcpus, 0, sizeof(vcpus));
    memset(&sum, 0, sizeof(sum));
    for (unsigned i = 0; i < 20000; i++) {
        struct exits *exits = &vcpus[i & 1];
        uint64_t value = random_next(&seed) % 1000;
        struct exit_stat *stat;
        switch (random_next(&seed) % 4) {
        case 0:
            stat = &exits->rows[random_next(&seed) % EXITS_MAX_ROWS][random_next(&seed) & 1];
            break;
        case 1:
            stat = exits_stray(exits, i & 4, (i & 1) * 1000 + random_next(&seed) % 100, i & 8);
            break;
        case 2:
            stat = &exits->reasons[random_next(&seed) % EXITS_REASONS];
            break;
        default:
            stat = &exits->interrupted;
            break;
        }
        exit_stat_add(stat, value);
        count++;
        cycles += value;
    }
    exits_merge(&sum, &vcpus[0]);
    exits_merge(&sum, &vcpus[1]);
    assert_int_equal(exits_total(&vcpus[0]) + exits_total(&vcpus[1]), count);
    assert_int_equal(exits_total(&sum), count);
    assert_true(sum.other.count > vcpus[0].other.count + vcpus[1].other.count);

    uint64_t total = sum.other.cycles + sum.interrupted.cycles;
    for (unsigned i = 0; i < EXITS_MAX_ROWS; i++)
        total += sum.rows[i][0].cycles + sum.rows[i][1].cycles;
    for (unsigned i = 0; i < EXITS_STRAYS; i++)
        total += sum.strays[i].stat.cycles;
    for (unsigned i = 0; i < EXITS_REASONS; i++)
        total += sum.reasons[i].cycles;
    assert_int_equal(total, cycles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adding),          cmocka_unit_test(least),           cmocka_unit_test(spread),
        cmocka_unit_test(merging),         cmocka_unit_test(merging_nothing), cmocka_unit_test(strays_are_told_apart),
        cmocka_unit_test(strays_overflow), cmocka_unit_test(merging_tables),
    };

    return cmocka_run_group_tests_name("exits", tests, NULL, NULL);
}
