/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring's consumer side (ringd/cursor.h) and its producer side (ringd_ring_push()), on a page without a thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ringd/cursor.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define USABLE       (RINGD_RING_SLOTS - 1)

static union {
    struct ringd_ring_page page;
    uint8_t bytes[RINGD_RING_BYTES];
    uint32_t words[RINGD_RING_BYTES / 4];
} memory;
static struct ringd_ring_page *const page = &memory.page;

/* A page full of what a careless or hostile producer left, with the indices at `index`. */
static void page_reset(uint32_t index)
{
    memset(&memory, 0xa5, sizeof(memory));
    page->first = page->last = index;
    memory.words[RINGD_RING_WANTED_OFFSET / 4] = 0;
}

static int push(uint64_t addr, uint32_t value)
{
    return ringd_ring_push(page, addr, 1, &value, sizeof(value));
}

/* Takes the front entry and checks that it is the one that push(addr, value) made. */
static void expect_front(struct ring_cursor *cursor, uint64_t addr, uint32_t expected)
{
    uint64_t value;
    struct ringd_ring_entry entry = ring_peek(cursor);
    assert_int_equal(entry.addr, addr);
    assert_int_equal(entry.pio, 1);
    assert_true(ring_entry_value(&entry, &value));
    assert_int_equal(value, expected);
    ring_advance(cursor);
}

static void layout(void **state)
{
    (void)state;
    assert_int_equal(RINGD_RING_SLOTS, 170);
    assert_int_equal(sizeof(struct ringd_ring_entry), 24);
    assert_int_equal(offsetof(struct ringd_ring_page, entries), 8);
    assert_int_equal(offsetof(struct ringd_ring_entry, data), 16);
    assert_int_equal(RINGD_RING_WANTED_OFFSET, 4092);
}

/* Fill and empty the ring from each index it can start at, so that each slot is the wrap-around once. */
static void every_start(void **state)
{
    (void)state;
    for (uint32_t start = 0; start < RINGD_RING_SLOTS; start++) {
        struct ring_cursor cursor;
        page_reset(start);
        ring_cursor_init(&cursor, page);
        assert_true(ring_is_empty(&cursor));
        assert_int_equal(ring_pending(&cursor), 0);
        for (uint32_t i = 0; i < USABLE; i++) {
            assert_int_equal(push(0x1000 + i, start * 1000 + i), 0);
            assert_int_equal(page->last, (start + i + 1) % RINGD_RING_SLOTS);
            assert_int_equal(ring_pending(&cursor), i + 1);
            assert_false(ring_is_empty(&cursor));
        }
        assert_int_equal(push(0, 0), -EAGAIN);
        assert_int_equal(ring_pending(&cursor), USABLE);
        for (uint32_t i = 0; i < USABLE; i++) {
            expect_front(&cursor, 0x1000 + i, start * 1000 + i);
            assert_int_equal(page->first, (start + i + 1) % RINGD_RING_SLOTS);
            assert_int_equal(ring_pending(&cursor), USABLE - i - 1);
        }
        assert_true(ring_is_empty(&cursor));
        assert_int_equal(cursor.bad, 0);
    }
}

/* One slot is given back at a time while the ring is full: no entry is lost or overwritten over many turns. */
static void full_and_moving(void **state)
{
    struct ring_cursor cursor;
    uint32_t pushed = 0, taken = 0;
    (void)state;
    page_reset(77);
    ring_cursor_init(&cursor, page);
    while (pushed < 5 * RINGD_RING_SLOTS) {
        while (push(pushed, ~pushed) == 0)
            pushed++;
        assert_int_equal(pushed - taken, USABLE);
        expect_front(&cursor, taken, ~taken);
        taken++;
    }
    assert_int_equal(ring_pending(&cursor), USABLE - 1);
}

static void start_of_a_used_page(void **state)
{
    static const struct {
        uint32_t first, last;
        uint32_t start, pending;
    } cases[] = {
        {0, 0, 0, 0},
        {5, 9, 5, 4},
        {169, 2, 169, 3},
        {1, 0, 1, 169},
        {170, 4, 4, 0}, /* first out of range: nothing is believed to stand there */
        {UINT32_MAX, 169, 169, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ring_cursor cursor;
        page_reset(0);
        page->first = cases[i].first;
        page->last = cases[i].last;
        ring_cursor_init(&cursor, page);
        assert_int_equal(cursor.first, cases[i].start);
        assert_int_equal(page->first, cases[i].start);
        assert_int_equal(ring_pending(&cursor), cases[i].pending);
        assert_int_equal(cursor.bad, 0);
    }
    /* Both out of range: it starts at 0, and `last` stays the producer's to mend. */
    struct ring_cursor cursor;
    page_reset(0);
    page->first = page->last = 0x80000000u;
    ring_cursor_init(&cursor, page);
    assert_int_equal(cursor.first, 0);
    assert_int_equal(page->first, 0);
    assert_int_equal(ring_pending(&cursor), 0);
    assert_int_equal(cursor.bad, 1);
}

static void last_out_of_range(void **state)
{
    static const uint32_t hostile[] = {170, 171, 255, 0x10000, 0x7fffffff, 0x80000000, UINT32_MAX - 1, UINT32_MAX};
    struct ring_cursor cursor;
    (void)state;
    page_reset(3);
    ring_cursor_init(&cursor, page);
    assert_int_equal(push(1, 11), 0);
    for (size_t i = 0; i < COUNT(hostile); i++) {
        page->last = hostile[i];
        assert_int_equal(ring_pending(&cursor), 0);
        assert_int_equal(cursor.bad, i + 1);
        assert_int_equal(push(2, 2), -EINVAL);
        assert_int_equal(page->last, hostile[i]);
    }
    page->last = 4; /* and it works again once the index is sane */
    assert_int_equal(ring_pending(&cursor), 1);
    expect_front(&cursor, 1, 11);
}

/* The producer writes `first`, which is the consumer's: the consumer goes by its own copy. */
static void first_scribbled(void **state)
{
    static const uint32_t hostile[] = {0, 9, 12, 169, 170, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < COUNT(hostile); i++) {
        struct ring_cursor cursor;
        page_reset(10);
        ring_cursor_init(&cursor, page);
        assert_int_equal(push(1, 21), 0);
        assert_int_equal(push(2, 22), 0);
        page->first = hostile[i];
        assert_int_equal(push(3, 23), hostile[i] >= RINGD_RING_SLOTS ? -EINVAL : 0);
        page->last = 12;
        assert_int_equal(ring_pending(&cursor), 2);
        expect_front(&cursor, 1, 21);
        assert_int_equal(page->first, 11);
        page->first = hostile[i];
        expect_front(&cursor, 2, 22);
        assert_int_equal(page->first, 12);
        assert_true(ring_is_empty(&cursor));
        assert_int_equal(cursor.bad, 0);
    }
}

/* `last` moves between the look and the reading of entries, back and forth: what was counted is read, slot after slot,
 * and never from outside the page. */
static void last_changes_under_the_reader(void **state)
{
    static const uint32_t hostile[] = {0, 168, 169, 170, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < COUNT(hostile); i++) {
        struct ring_cursor cursor;
        page_reset(165);
        ring_cursor_init(&cursor, page);
        for (uint32_t j = 0; j < 10; j++)
            assert_int_equal(push(j, 100 + j), 0);
        uint32_t pending = ring_pending(&cursor);
        assert_int_equal(pending, 10);
        page->last = hostile[i];
        for (uint32_t j = 0; j < pending; j++)
            expect_front(&cursor, j, 100 + j);
        assert_int_equal(cursor.first, 5);
        pending = ring_pending(&cursor);
        assert_int_equal(pending,
                         hostile[i] < RINGD_RING_SLOTS ? (hostile[i] + RINGD_RING_SLOTS - 5) % RINGD_RING_SLOTS : 0);
        assert_true(pending <= USABLE);
    }
}

/* The copy is private: what a producer does to the slot afterwards changes nothing. */
static void entry_changes_under_the_reader(void **state)
{
    struct ring_cursor cursor;
    uint64_t value;
    (void)state;
    page_reset(0);
    ring_cursor_init(&cursor, page);
    assert_int_equal(push(0x70, 0x1234), 0);
    struct ringd_ring_entry entry = ring_peek(&cursor);
    memset(&page->entries[0], 0xff, sizeof(page->entries[0]));
    assert_int_equal(entry.addr, 0x70);
    assert_int_equal(entry.len, 4);
    assert_true(ring_entry_value(&entry, &value));
    assert_int_equal(value, 0x1234);
}

static void lengths_and_stale_bytes(void **state)
{
    static const struct {
        uint32_t len, pio;
        bool good;
        uint64_t value;
    } cases[] = {
        {1, 0, true, 0x88},
        {2, 0, true, 0x7788},
        {4, 1, true, 0x55667788},
        {8, 1, true, 0x1122334455667788},
        {3, 0, true, 0x667788},
        {5, 0, true, 0x4455667788}, /* a write cut at a page's end */
        {6, 0, true, 0x334455667788},
        {7, 1, true, 0x22334455667788},
        {0, 0, false, 0},
        {9, 0, false, 0},
        {16, 0, false, 0},
        {257, 0, false, 0}, /* its low byte alone would be good */
        {0x80000001, 0, false, 0},
        {UINT32_MAX, 0, false, 0},
        {1, 2, false, 0},
        {1, 0x100, false, 0},
        {4, UINT32_MAX, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const uint64_t data = 0x1122334455667788;
        struct ringd_ring_entry entry = {.addr = 0xcf8, .len = cases[i].len, .pio = cases[i].pio};
        uint64_t value = 0x5a5a;
        memcpy(entry.data, &data, sizeof(data));
        assert_int_equal(ring_entry_value(&entry, &value), cases[i].good);
        assert_int_equal(value, cases[i].good ? cases[i].value : 0x5a5a);
    }
    /* Bytes past `len` that are not the writer's leave no trace in the value. */
    for (uint32_t len = 1; len <= 8; len++) {
        struct ringd_ring_entry entry = {.len = len};
        uint64_t value;
        memset(entry.data, 0xff, sizeof(entry.data));
        memset(entry.data, 0, len);
        assert_true(ring_entry_value(&entry, &value));
        assert_int_equal(value, 0);
    }
}

static void push_lengths(void **state)
{
    static const uint8_t data[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint32_t bad[] = {0, 9, 16, 0x100, UINT32_MAX};
    struct ring_cursor cursor;
    (void)state;
    page_reset(169);
    ring_cursor_init(&cursor, page);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(ringd_ring_push(page, 0x70, 1, data, bad[i]), -EINVAL);
    assert_int_equal(page->last, 169);
    for (uint32_t len = 1; len <= 8; len++) {
        assert_int_equal(ringd_ring_push(page, UINT64_MAX - len, len & 1, data, len), 0);
        struct ringd_ring_entry entry = ring_peek(&cursor);
        assert_int_equal(entry.addr, UINT64_MAX - len);
        assert_int_equal(entry.len, len);
        assert_int_equal(entry.pio, len & 1);
        assert_memory_equal(entry.data, data, len);
        ring_advance(&cursor);
    }
}

/* Asked once, told once; the request survives what is no push. */
static void wake_request(void **state)
{
    uint8_t data = 0;
    (void)state;
    page_reset(0);
    ring_want_wakeup(page, true);
    assert_int_equal(memory.words[RINGD_RING_WANTED_OFFSET / 4], 1);
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 0), -EINVAL);
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 1), 1);
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 1), 0);
    ring_want_wakeup(page, true);
    ring_want_wakeup(page, false);
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 1), 0);
    memory.words[RINGD_RING_WANTED_OFFSET / 4] = UINT32_MAX; /* scribbled: a wake-up too many is harmless */
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 1), 1);
    assert_int_equal(memory.words[RINGD_RING_WANTED_OFFSET / 4], 0);
    while (ringd_ring_push(page, 0, 0, &data, 1) == 0)
        continue;
    ring_want_wakeup(page, true);
    assert_int_equal(ringd_ring_push(page, 0, 0, &data, 1), -EAGAIN);
    assert_int_equal(memory.words[RINGD_RING_WANTED_OFFSET / 4], 1);
}

/* Nothing but the slots, the indices and the word is ever written. */
static void stays_inside_its_slots(void **state)
{
    struct ring_cursor cursor;
    (void)state;
    page_reset(0);
    ring_cursor_init(&cursor, page);
    for (uint32_t i = 0; i < 3 * RINGD_RING_SLOTS; i++) {
        assert_int_equal(push(i, i), 0);
        expect_front(&cursor, i, i);
    }
    for (size_t at = sizeof(struct ringd_ring_page) + RINGD_RING_SLOTS * sizeof(struct ringd_ring_entry);
         at < RINGD_RING_WANTED_OFFSET; at++)
        assert_int_equal(memory.bytes[at], 0xa5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout),
        cmocka_unit_test(every_start),
        cmocka_unit_test(full_and_moving),
        cmocka_unit_test(start_of_a_used_page),
        cmocka_unit_test(last_out_of_range),
        cmocka_unit_test(first_scribbled),
        cmocka_unit_test(last_changes_under_the_reader),
        cmocka_unit_test(entry_changes_under_the_reader),
        cmocka_unit_test(lengths_and_stale_bytes),
        cmocka_unit_test(push_lengths),
        cmocka_unit_test(wake_request),
        cmocka_unit_test(stays_inside_its_slots),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
