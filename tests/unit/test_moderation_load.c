/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guests' habits against the moderation: how often the thread is woken or looks, how long an entry waits, and whether
 * the ring is ever full. With the default bound unless said otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "moderation_sim.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define US           UINT64_C(1000)
#define MS           UINT64_C(1000000)
#define SECOND       UINT64_C(1000000000)
#define BOUND        MS
#define LOOKS        1334u  /* a second in LATCH: one in 3/4 of the bound */
#define POLLS        20000u /* a second in POLL: one in 50 us */

static const uint64_t bounds[] = {20 * US, 100 * US, MS, 10 * MS, 100 * MS};

static struct sim sim;

/* Looks and wake-ups of the thread while the guest goes on for `ns`. */
static uint64_t run(uint64_t ns)
{
    uint64_t before = sim.looks + sim.wakeups;
    sim_run(&sim, ns);
    return sim.looks + sim.wakeups - before;
}

static uint64_t age_limit(uint64_t bound_ns)
{
    return bound_ns > SIM_WAKE_NS ? bound_ns : SIM_WAKE_NS;
}

static struct sim_action tick(uint64_t period_ns)
{
    if (sim.phase++ & 1)
        return (struct sim_action){sim.action.at_ns + US, true};
    return (struct sim_action){sim.action.at_ns + period_ns - US, false};
}

static struct sim_action tick_64(struct sim *s)
{
    (void)s;
    return tick(SECOND / 64);
}

static struct sim_action tick_1024(struct sim *s)
{
    (void)s;
    return tick(SECOND / 1024);
}

static struct sim_action tick_100k(struct sim *s)
{
    (void)s;
    return tick(10 * US);
}

static struct sim_action doorbell(struct sim *s)
{
    return (struct sim_action){s->action.at_ns + 50 * MS, false};
}

/* The guest rings again 20 us after it has seen the effect. */
static struct sim_action closed_loop(struct sim *s)
{
    return (struct sim_action){s->count ? UINT64_MAX : s->now + 20 * US, false};
}

static struct sim_action storm(struct sim *s)
{
    return (struct sim_action){s->action.at_ns + 1200, false};
}

static struct sim_action storm_that_ends(struct sim *s)
{
    return s->action.at_ns < 2 * SECOND ? storm(s) : doorbell(s);
}

/* A dozen index writes that are drained by their data accesses, then a dozen writes that nobody drains. */
static struct sim_action half_latch(struct sim *s)
{
    unsigned phase = s->phase++ % 36;
    if (phase < 24)
        return (struct sim_action){s->action.at_ns + 50 * US, phase & 1};
    return (struct sim_action){s->action.at_ns + 100 * US, false};
}

static struct sim_action anything(struct sim *s)
{
    s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
    unsigned r = (unsigned)(s->seed >> 33);
    if (r % 997 == 0)
        s->phase = r >> 16; /* another habit */
    uint64_t gap = UINT64_C(300) << (s->phase % 16);
    return (struct sim_action){s->action.at_ns + gap / 2 + r % gap, (r >> 12) % 16 < s->phase / 16 % 8};
}

/* The tick of an idle Windows: a wake-up each is less than looking would be. */
static void rtc_64_hz(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, tick_64);
    assert_in_range(run(SECOND), 60, 65);
    assert_int_equal(sim.moderation.switches, 0);
    assert_true(sim.age_max <= SIM_WAKE_NS);
}

static void rtc_1024_hz(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, tick_1024);
    run(SECOND);
    assert_in_range(run(10 * SECOND), 0, 10 * LOOKS);
    assert_true(sim.age_max <= BOUND);
}

/* The latch: after the first few no wake-up at all, and a look in 3/4 of the bound. */
static void rtc_100_khz(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, tick_100k);
    run(MS);
    assert_int_equal(sim.moderation.state, MODERATION_LATCH);
    uint64_t wakeups = sim.wakeups;
    assert_true(wakeups <= 8);
    assert_in_range(run(10 * SECOND), 0, 10 * LOOKS);
    assert_int_equal(sim.wakeups, wakeups);
    assert_int_equal(sim.moderation.switches, 1);
    assert_int_equal(sim.seen.full_exits, 0);
}

static void idle_doorbell(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bounds); i++) {
        sim_init(&sim, bounds[i], true, doorbell);
        assert_in_range(run(SECOND), 19, 21);
        assert_int_equal(sim.moderation.switches, 0);
        assert_true(sim.age_max <= SIM_WAKE_NS);
    }
}

static void closed_loop_doorbell(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bounds); i++) {
        sim_init(&sim, bounds[i], true, closed_loop);
        run(SECOND);
        assert_int_equal(sim.moderation.switches, 0); /* never a moderated one: each waits for a wake-up only */
        assert_true(sim.age_max <= SIM_WAKE_NS);
        assert_in_range(sim.replayed, 35000, 36000);
    }
}

static void open_storm(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, storm);
    run(MS);
    assert_int_equal(sim.moderation.state, MODERATION_POLL);
    uint64_t replayed = sim.replayed, looks = run(SECOND);
    assert_int_equal(sim.seen.full_exits, 0);
    assert_int_equal(sim.moderation.switches, 1);
    replayed = sim.replayed - replayed;
    assert_in_range(replayed / looks, 150, 168); /* nearly all of the ring */
    assert_true(sim.age_max <= BOUND);
}

/* A host whose timers are late by anything up to a quarter of what fills the ring: the aim finds its place below. */
static void storm_on_an_unpunctual_host(void **state)
{
    static const uint64_t jitters[] = {10 * US, 20 * US, 50 * US};
    (void)state;
    for (size_t i = 0; i < COUNT(jitters); i++) {
        sim_init(&sim, BOUND, true, storm);
        sim.jitter_ns = jitters[i];
        run(100 * MS);
        uint64_t replayed = sim.replayed, full = sim.seen.full_exits, looks = run(10 * SECOND);
        replayed = sim.replayed - replayed;
        full = sim.seen.full_exits - full;
        assert_in_range(full, 1, replayed / 10000); /* it tries, and not too often */
        assert_in_range(replayed / looks, 110, 168);
    }
}

static void storm_ends(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, storm_that_ends);
    run(SECOND - MS);
    assert_int_equal(sim.moderation.state, MODERATION_POLL);
    run(4 * MS); /* 3 ms into the silence */
    assert_int_equal(sim.moderation.state, MODERATION_ARMED);
    uint64_t replayed = sim.replayed;
    sim.age_max = 0;
    assert_in_range(run(SECOND), 19, 21); /* doorbells again */
    assert_in_range(sim.replayed - replayed, 19, 21);
    assert_true(sim.age_max <= SIM_WAKE_NS);
}

/* Where a third is left to the thread, LATCH is tried ever less often. */
static void mistakes_grow_rare(void **state)
{
    (void)state;
    sim_init(&sim, BOUND, true, half_latch);
    run(10 * SECOND);
    assert_true(sim.moderation.switches >= 4);
    assert_true(sim.moderation.switches <= 2 * (6 + 10) + 2); /* 16 to 512 ms, then each second */
    uint64_t switches = sim.moderation.switches;
    run(10 * SECOND);
    assert_true(sim.moderation.switches - switches <= 22);
    assert_true(sim.age_max <= BOUND);
}

/* Nothing notifies: LATCH's and POLL's looks keep the bound, whatever the guest does. */
static void without_notification(void **state)
{
    static struct sim_action (*const habits[])(struct sim *) = {tick_64,  tick_1024,   tick_100k,
                                                                doorbell, closed_loop, half_latch};
    (void)state;
    for (size_t i = 0; i < COUNT(habits); i++) {
        for (size_t j = 0; j < COUNT(bounds); j++) {
            uint64_t looks = SECOND / (bounds[j] * 3 / 4 + SIM_LATE_NS) + 1;
            sim_init(&sim, bounds[j], false, habits[i]);
            uint64_t done = run(SECOND);
            assert_true(sim.age_max <= age_limit(bounds[j]));
            assert_int_equal(sim.wakeups, 0);
            /* A large bound lets half_latch's writes pile up, and POLL takes them. */
            assert_true(done <= looks || (habits[i] == half_latch && done <= POLLS));
        }
    }
    sim_init(&sim, BOUND, false, storm);
    run(10 * MS); /* LATCH at first, and full before its first look */
    uint64_t full = sim.seen.full_exits;
    assert_true(full > 0 && full < 20);
    assert_in_range(run(SECOND), 1000, POLLS);
    assert_int_equal(sim.seen.full_exits, full);
    assert_true(sim.age_max <= BOUND);
}

/* Habits that change at random: the bound holds, and the thread does no more than POLL allows or a wake-up a write. */
static void bound_always_holds(void **state)
{
    (void)state;
    for (unsigned notifies = 0; notifies < 2; notifies++) {
        for (size_t i = 0; i < COUNT(bounds); i++) {
            sim_init(&sim, bounds[i], notifies, anything);
            for (unsigned j = 0; j < 20; j++) {
                uint64_t replayed = sim.replayed, wakeups = sim.wakeups, looks = sim.looks;
                run(SECOND / 2);
                assert_true(sim.age_max <= age_limit(bounds[i]));
                assert_true(sim.wakeups - wakeups <= sim.replayed - replayed + 1);
                assert_true(sim.looks - looks <= SECOND / 2 / (bounds[i] < 67 * US ? 15 * US : 50 * US) + 1);
                assert_true(notifies || sim.wakeups == 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rtc_64_hz),
        cmocka_unit_test(rtc_1024_hz),
        cmocka_unit_test(rtc_100_khz),
        cmocka_unit_test(idle_doorbell),
        cmocka_unit_test(closed_loop_doorbell),
        cmocka_unit_test(open_storm),
        cmocka_unit_test(storm_on_an_unpunctual_host),
        cmocka_unit_test(storm_ends),
        cmocka_unit_test(mistakes_grow_rare),
        cmocka_unit_test(without_notification),
        cmocka_unit_test(bound_always_holds),
    };

    return cmocka_run_group_tests_name("moderation under load", tests, NULL, NULL);
}
