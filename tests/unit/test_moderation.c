/* SPDX-License-Identifier: BSD-2-Clause */
/* Over every arrow of the diagram in ringd/moderation.h, each threshold one short of it and exactly at it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ringd/moderation.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define US           UINT64_C(1000)
#define MS           UINT64_C(1000000)
#define BOUND        MS
#define LOOK         (BOUND * 3 / 4) /* LATCH's interval */
#define CAPACITY     169u
#define START        (1000 * MS)

static struct moderation m;
static struct moderation_seen seen;

static void start(bool notifies, bool enabled, uint64_t bound_ns)
{
    struct moderation_config config = {
        .bound_ns = bound_ns, .capacity = CAPACITY, .notifies = notifies, .enabled = enabled};
    seen = (struct moderation_seen){.now_ns = START};
    moderation_init(&m, &config, START);
}

/* A wake-up or look, `ns` after the last. */
static enum moderation_state step(uint64_t ns, uint32_t found, unsigned vcpu_entries, unsigned visits, unsigned full)
{
    seen.now_ns += ns;
    seen.found = found;
    seen.vcpu_entries += vcpu_entries;
    seen.visits += visits;
    seen.full_exits += full;
    moderation_step(&m, &seen);
    return m.state;
}

static void to_latch(void)
{
    for (unsigned i = 0; i < 4; i++)
        step(100 * US, 0, 1, 1, 0);
    assert_int_equal(m.state, MODERATION_LATCH);
}

static void to_poll(void)
{
    step(100 * US, CAPACITY / 2, 0, 0, 0);
    assert_int_equal(m.state, MODERATION_POLL);
}

static void begins(void **state)
{
    (void)state;
    start(true, true, BOUND);
    assert_int_equal(m.state, MODERATION_ARMED);
    assert_int_equal(m.next_look_ns, UINT64_MAX);
    assert_int_equal(m.switches, 0);
    start(false, true, BOUND); /* nothing notifies: it looks from the start */
    assert_int_equal(m.state, MODERATION_LATCH);
    assert_int_equal(m.next_look_ns, START + LOOK);
    assert_int_equal(m.switches, 0);
    assert_string_equal(moderation_state_name(MODERATION_ARMED), "armed");
    assert_string_equal(moderation_state_name(MODERATION_LATCH), "latch");
    assert_string_equal(moderation_state_name(MODERATION_POLL), "poll");
    assert_null(moderation_state_name((enum moderation_state)3));
}

/* Single wake-ups of every kind that is no pattern. */
static void armed_stays(void **state)
{
    static const struct {
        uint64_t ns;
        uint32_t found;
        unsigned vcpu_entries, visits;
    } cases[] = {
        {BOUND / 2, 0, 1, 1}, /* visits, but far apart: waking is as cheap as looking */
        {15 * MS, 0, 1, 1},   /* the 64 Hz tick */
        {20 * US, 1, 0, 0},   /* a doorbell that its writer waits for */
        {20 * US, 3, 0, 0},   /* at three writes each still */
        {200 * US, 4, 0, 0},  /* four, but seldom */
        {200 * US, CAPACITY / 2 - 1, 0, 0},
        {100 * US, 0, 0, 0}, /* wasted */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        start(true, true, BOUND);
        for (unsigned j = 0; j < 1000; j++)
            assert_int_equal(step(cases[i].ns, cases[i].found, cases[i].vcpu_entries, cases[i].visits, 0),
                             MODERATION_ARMED);
        assert_int_equal(m.switches, 0);
        assert_int_equal(m.next_look_ns, UINT64_MAX);
    }
}

static void armed_to_latch(void **state)
{
    (void)state;
    start(true, true, BOUND);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(step(BOUND / 2 - 1, 0, 1, 1, 0), MODERATION_ARMED);
    assert_int_equal(step(BOUND / 2 - 1, 0, 1, 1, 0), MODERATION_LATCH);
    assert_int_equal(m.next_look_ns, seen.now_ns + LOOK);
    assert_int_equal(m.switches, 1);

    start(true, true, BOUND); /* one without a visit, or late, and the count begins again */
    for (unsigned i = 0; i < 20; i++) {
        for (unsigned j = 0; j < 3; j++)
            assert_int_equal(step(100 * US, 0, 1, 1, 0), MODERATION_ARMED);
        assert_int_equal(i & 1 ? step(100 * US, 1, 0, 0, 0) : step(BOUND / 2, 0, 1, 1, 0), MODERATION_ARMED);
    }
}

static void armed_to_poll(void **state)
{
    (void)state;
    start(true, true, BOUND);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(step(200 * US - 1, 4, 0, 0, 0), MODERATION_ARMED);
    assert_int_equal(step(200 * US - 1, 4, 0, 0, 0), MODERATION_POLL);
    assert_int_equal(m.next_look_ns, seen.now_ns + 100 * US);
    assert_int_equal(m.switches, 1);

    start(true, true, BOUND); /* one with three writes, or late, or with a visit, and the count begins again */
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned j = 0; j < 3; j++)
            assert_int_equal(step(100 * US, 4, 0, 0, 0), MODERATION_ARMED);
        switch (i % 3) {
        case 0:
            step(100 * US, 3, 0, 0, 0);
            break;
        case 1:
            step(200 * US, 4, 0, 0, 0);
            break;
        default:
            step(100 * US, 4, 0, 1, 0);
            break;
        }
        assert_int_equal(m.state, MODERATION_ARMED);
    }

    start(true, true, BOUND); /* no time for a pattern: half full at one wake-up, or full */
    assert_int_equal(step(MS, CAPACITY / 2 - 1, 0, 0, 0), MODERATION_ARMED);
    assert_int_equal(step(MS, CAPACITY / 2, 0, 0, 0), MODERATION_POLL);
    start(true, true, BOUND);
    assert_int_equal(step(MS, 0, CAPACITY, 1, 1), MODERATION_POLL);
}

/* Eight looks that held seven writes, or eight, which nobody left to the thread. */
static void latch_to_armed_when_quiet(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_latch();
    for (unsigned i = 0; i < 10; i++) /* windows that hold eight keep it */
        for (unsigned j = 0; j < 8; j++) {
            assert_int_equal(step(LOOK, 0, 1, 1, 0), MODERATION_LATCH);
            assert_int_equal(m.next_look_ns, seen.now_ns + LOOK);
        }
    for (unsigned j = 0; j < 7; j++)
        assert_int_equal(step(LOOK, 0, 1, 1, 0), MODERATION_LATCH);
    assert_int_equal(step(LOOK, 0, 0, 1, 0), MODERATION_ARMED);
    assert_int_equal(m.next_look_ns, UINT64_MAX);
    to_latch(); /* silence is no mistake: LATCH is not barred */
}

/* A quarter of a window's writes, or one less, left to the thread. */
static void latch_to_armed_when_wrong(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_latch();
    for (unsigned i = 0; i < 10; i++) {
        for (unsigned j = 0; j < 7; j++)
            step(LOOK, 1, 4, 1, 0);                                 /* 7 of 35 */
        assert_int_equal(step(LOOK, 2, 0, 0, 0), MODERATION_LATCH); /* 9 of 37: below a quarter */
    }
    for (unsigned j = 0; j < 7; j++)
        assert_int_equal(step(LOOK, 1, 4, 1, 0), MODERATION_LATCH);
    assert_int_equal(step(LOOK, 2, 9, 1, 0), MODERATION_LATCH); /* 9 of 46 */
    for (unsigned j = 0; j < 7; j++)
        assert_int_equal(step(LOOK, 1, 3, 1, 0), MODERATION_LATCH);
    assert_int_equal(step(LOOK, 1, 3, 1, 0), MODERATION_ARMED); /* 8 of 32 */
}

static void latch_to_poll(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_latch();
    assert_int_equal(step(LOOK, CAPACITY / 4 - 1, 0, 0, 0), MODERATION_LATCH);
    assert_int_equal(step(LOOK, CAPACITY / 4, 0, 0, 0), MODERATION_POLL);
    assert_int_equal(m.next_look_ns, seen.now_ns + 100 * US);

    start(true, true, BOUND);
    to_latch();
    assert_int_equal(step(LOOK, 0, CAPACITY, 1, 1), MODERATION_POLL);
}

static void poll_to_armed(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_poll();
    for (unsigned i = 0; i < 20; i++) { /* three in a row are not enough, nor is anything with a full exit */
        for (unsigned j = 0; j < 3; j++)
            assert_int_equal(step(100 * US, 2, 0, 0, 0), MODERATION_POLL);
        assert_int_equal(i & 1 ? step(100 * US, 3, 0, 0, 0) : step(100 * US, 0, 169, 1, 1), MODERATION_POLL);
    }
    for (unsigned j = 0; j < 3; j++)
        assert_int_equal(step(100 * US, 2, 0, 0, 0), MODERATION_POLL);
    assert_int_equal(step(100 * US, 2, 0, 0, 0), MODERATION_ARMED);
    assert_int_equal(m.next_look_ns, UINT64_MAX);
    assert_int_equal(m.switches, 2);
}

/* A ring without notification: LATCH in ARMED's place, and POLL ends in it. Nothing ever waits for a wake-up. */
static void without_notification(void **state)
{
    (void)state;
    start(false, true, BOUND);
    for (unsigned i = 0; i < 100; i++) { /* neither silence nor leaving all to the thread helps */
        assert_int_equal(step(LOOK, i & 8 ? 5 : 0, 0, 0, 0), MODERATION_LATCH);
        assert_int_equal(m.next_look_ns, seen.now_ns + LOOK);
    }
    assert_int_equal(m.switches, 0);
    assert_int_equal(step(LOOK, CAPACITY / 4 - 1, 0, 0, 0), MODERATION_LATCH);
    assert_int_equal(step(LOOK, CAPACITY / 4, 0, 0, 0), MODERATION_POLL);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(m.state, MODERATION_POLL);
        step(m.next_look_ns - seen.now_ns, 0, 0, 0, 0);
    }
    assert_int_equal(m.state, MODERATION_LATCH);
    assert_int_equal(m.next_look_ns, seen.now_ns + LOOK);
    assert_int_equal(step(LOOK, 0, CAPACITY, 1, 1), MODERATION_POLL);
    assert_int_equal(m.switches, 3);
}

static void disabled(void **state)
{
    (void)state;
    for (unsigned notifies = 0; notifies < 2; notifies++) {
        start(notifies, false, BOUND);
        enum moderation_state first = m.state;
        for (unsigned i = 0; i < 1000; i++) {
            assert_int_equal(step(10 * US, i % CAPACITY, i % 7, i % 3, i % 2), first);
            assert_int_equal(m.next_look_ns, notifies ? UINT64_MAX : seen.now_ns + LOOK);
        }
        assert_int_equal(m.switches, 0);
    }
}

/* LATCH turns out wrong: leaves it, and tells how long visits are then ignored, to the nanosecond. */
static uint64_t bar_after_mistake(void)
{
    for (unsigned i = 0; i < 8; i++)
        step(LOOK, 2, 2, 1, 0);
    assert_int_equal(m.state, MODERATION_ARMED);
    return m.latch_barred_until_ns - seen.now_ns;
}

/* Four visits that end exactly when the bar does or later: only those after its end count. */
static void after_bar(uint64_t bar)
{
    seen.now_ns += bar - 1 - 100 * US;
    for (unsigned i = 0; i < 6; i++)
        step(i ? 0 : 100 * US, 0, 1, 1, 0);
    assert_int_equal(m.state, MODERATION_ARMED);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(step(i ? 0 : 1, 0, 1, 1, 0), MODERATION_ARMED);
    assert_int_equal(step(0, 0, 1, 1, 0), MODERATION_LATCH);
}

static void bar_doubles_and_decays(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_latch();
    for (uint64_t bar = 16 * BOUND; bar < 1000 * MS; bar *= 2) {
        assert_int_equal(bar_after_mistake(), bar);
        after_bar(bar);
    }
    for (unsigned i = 0; i < 3; i++) { /* a second at most */
        assert_int_equal(bar_after_mistake(), 1000 * MS);
        after_bar(1000 * MS);
    }
    for (unsigned i = 0; i < 8; i++) /* a window that shows LATCH right */
        assert_int_equal(step(LOOK, 1, 9, 5, 0), MODERATION_LATCH);
    assert_int_equal(bar_after_mistake(), 16 * BOUND);
}

static void poll_interval(void **state)
{
    static const struct {
        uint32_t found;
        unsigned full;
        uint64_t before, after; /* us */
    } cases[] = {
        {148, 0, 100, 100},                                      /* 7/8 of the ring: just right */
        {84, 0, 100, 176},                                       /* in proportion: 100 us * 148 / 84 */
        {111, 0, 100, 133}, {75, 0, 100, 197},                   /* 197.3 */
        {74, 0, 100, 200},                                       /* doubled at most */
        {10, 0, 100, 200},  {0, 0, 100, 200},  {0, 1, 100, 50},  /* full: twice as often */
        {148, 1, 100, 50},  {169, 0, 100, 87}, {169, 0, 54, 50}, /* never more often than that */
        {148, 1, 60, 50},   {10, 0, 400, 500},                   /* nor less often than that */
        {0, 0, 500, 500},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        start(true, true, BOUND);
        to_poll();
        m.poll_interval_ns = cases[i].before * US;
        step(cases[i].before * US, cases[i].found, 0, 0, cases[i].full);
        assert_int_equal(m.state, MODERATION_POLL);
        assert_int_equal(m.poll_interval_ns / US, cases[i].after);
        assert_int_equal(m.next_look_ns, seen.now_ns + m.poll_interval_ns);
    }
}

/* The bound is kept by POLL too, down to the least and at the largest. */
static void poll_aim(void **state)
{
    (void)state;
    start(true, true, BOUND);
    to_poll();
    assert_int_equal(m.poll_aim, 148); /* 169 less an eighth */
    for (unsigned i = 0; i < 15; i++)
        step(100 * US, 148, 0, 0, 0);
    assert_int_equal(m.poll_aim, 148);
    step(100 * US, 148, 0, 0, 0);
    assert_int_equal(m.poll_aim, 149); /* the sixteenth that went well */
    for (unsigned i = 0; i < 200; i++)
        step(100 * US, 148, 0, 0, 0);
    assert_int_equal(m.poll_aim, 159); /* 169 less a sixteenth, no more */
    step(100 * US, 148, 0, 0, 1);
    assert_int_equal(m.poll_aim, 138);
    for (unsigned i = 0; i < 10; i++)
        step(100 * US, 148, 0, 0, 1);
    assert_int_equal(m.poll_aim, 84); /* half, no less */
}

static void poll_interval_by_bound(void **state)
{
    static const struct {
        uint64_t bound, first, least, most; /* us */
    } cases[] = {
        {20, 15, 15, 15}, {40, 30, 30, 30}, {100, 75, 50, 75}, {1000, 100, 50, 500}, {100000, 100, 50, 500},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        start(true, true, cases[i].bound * US);
        to_poll();
        assert_int_equal(m.poll_interval_ns, cases[i].first * US);
        for (unsigned j = 0; j < 20; j++)
            step(m.poll_interval_ns, 168, 0, 0, 1);
        assert_int_equal(m.poll_interval_ns, cases[i].least * US);
        for (unsigned j = 0; j < 20; j++)
            step(m.poll_interval_ns, 3, 0, 0, 0);
        assert_int_equal(m.poll_interval_ns, cases[i].most * US);
    }
}

/* Any steps at all, also with a clock that goes back: a state, and a look within the bound or an armed fd. */
static void anything(void **state)
{
    static const uint64_t bounds[] = {20 * US, 333 * US, MS, 100 * MS, 3600000 * MS};
    uint64_t seed = 1;
    (void)state;
    for (unsigned run = 0; run < 2 * COUNT(bounds); run++) {
        uint64_t bound = bounds[run / 2];
        start(run & 1, true, bound);
        for (unsigned i = 0; i < 20000; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            unsigned r = (unsigned)(seed >> 33);
            uint64_t ns = r % 64 == 0 ? UINT64_MAX - 5000 : (uint64_t)1 << (r >> 8) % 40;
            step(ns, r % 5 ? r % 4 : r % 170, r / 3 % 8, r / 7 % 2, r % 50 == 0);
            if (m.state == MODERATION_ARMED) {
                assert_true(run & 1);
                assert_int_equal(m.next_look_ns, UINT64_MAX);
            } else {
                uint64_t wait = m.next_look_ns - seen.now_ns;
                assert_true(wait > 0 && wait <= bound - bound / 4);
                assert_true(m.state == MODERATION_LATCH || wait <= 500 * US);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins),
        cmocka_unit_test(armed_stays),
        cmocka_unit_test(armed_to_latch),
        cmocka_unit_test(armed_to_poll),
        cmocka_unit_test(latch_to_armed_when_quiet),
        cmocka_unit_test(latch_to_armed_when_wrong),
        cmocka_unit_test(latch_to_poll),
        cmocka_unit_test(poll_to_armed),
        cmocka_unit_test(without_notification),
        cmocka_unit_test(disabled),
        cmocka_unit_test(bar_doubles_and_decays),
        cmocka_unit_test(poll_aim),
        cmocka_unit_test(poll_interval),
        cmocka_unit_test(poll_interval_by_bound),
        cmocka_unit_test(anything),
    };

    return cmocka_run_group_tests_name("moderation", tests, NULL, NULL);
}
