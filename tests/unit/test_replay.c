/* SPDX-License-Identifier: BSD-2-Clause */
/* From a ring in shared memory into models, without the thread: what is replayed when, and what is dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "recorder.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define USABLE       (RINGD_RING_SLOTS - 1)
#define PORT         0x70u
#define BELL_AT      0xfe000000u
#define BYTES_AT     0xfe002000u
#define QWORDS_AT    UINT64_C(0x8000001000)

/* Two devices with a ring each; the second lies 0x100 ports and 64 KiB above the first. */
struct pair {
    struct ringd *rd;
    struct ringd_dev *dev[2];
    struct recorder rec[2];
    struct ringd_ring_page *page[2];
};

static int setup(void **state)
{
    static struct pair pair;
    struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    memset(&pair, 0, sizeof(pair));
    if (ringd_create(&config, &pair.rd))
        return -1;
    for (unsigned i = 0; i < 2; i++) {
        if (ringd_add(pair.rd, &recorder_ops, &pair.rec[i], NULL, &pair.dev[i]) ||
            ringd_memfd_ring(pair.dev[i], &pair.page[i], NULL, NULL))
            return -1;
        uint64_t at[RECORDER_REGIONS] = {PORT, PORT + 4, BELL_AT, BYTES_AT, QWORDS_AT};
        for (unsigned j = 0; j < RECORDER_REGIONS; j++)
            if (ringd_map(pair.dev[i], j, at[j] + (recorder_regions[j].space == RINGD_PIO ? 0x100 : 0x10000) * i))
                return -1;
    }
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;
    ringd_destroy(pair->rd);
    return pair->rec[0].destroyed == 1 && pair->rec[1].destroyed == 1 ? 0 : -1;
}

static void push(struct pair *pair, unsigned dev, bool pio, uint64_t addr, uint64_t value, uint32_t len)
{
    assert_true(ringd_ring_push(pair->page[dev], addr, pio, &value, len) >= 0);
}

static void expect(const struct recorder *rec, unsigned at, struct recorded expected)
{
    const struct recorded *got = &rec->log[at];
    assert_true(rec->count > at);
    assert_int_equal(got->write, expected.write);
    assert_int_equal(got->region, expected.region);
    assert_int_equal(got->offset, expected.offset);
    assert_int_equal(got->width, expected.width);
    assert_int_equal(got->value, expected.value);
}

static void expect_write(const struct recorder *rec, unsigned at, unsigned region, uint64_t offset, unsigned width,
                         uint64_t value)
{
    expect(rec, at, (struct recorded){true, region, width, offset, value});
}

static struct ringd_ring_stats ring_stats(struct pair *pair, unsigned index)
{
    struct ringd_ring_stats stats;
    assert_int_equal(ringd_ring_stats(pair->rd, index, &stats), 0);
    return stats;
}

static void order_exactly_once(void **state)
{
    struct pair *pair = *state;
    uint32_t next = 0;
    for (unsigned round = 0; round < 400; round++) { /* 1 to 169 at a time: each slot is the first of a batch */
        struct recorder *rec = &pair->rec[0];
        uint32_t count = 1 + round * 7 % USABLE;
        rec->count = 0;
        for (uint32_t i = 0; i < count; i++)
            push(pair, 0, false, BELL_AT + 4 * (i % 1024), next + i, 4);
        assert_int_equal(rec->count, 0); /* nobody has looked */
        ringd_drain(pair->rd);
        assert_int_equal(rec->count, count);
        for (uint32_t i = 0; i < count; i++)
            expect_write(rec, i, BELL, 4 * (i % 1024), 4, next + i);
        ringd_drain(pair->rd);
        assert_int_equal(rec->count, count);
        next += count;
    }
    assert_int_equal(pair->rec[1].count, 0);
    assert_int_equal(ring_stats(pair, 0).entries, next);
    assert_int_equal(ring_stats(pair, 0).bad, 0);
}

static void full_ring(void **state)
{
    struct pair *pair = *state;
    uint32_t value = 0;
    for (; value < USABLE; value++)
        push(pair, 0, false, BELL_AT, value, 4);
    assert_int_equal(ringd_ring_push(pair->page[0], BELL_AT, 0, &value, 4), -EAGAIN);
    ringd_write(pair->dev[0], BELL, 0, 4, value); /* comes as an exit, and stays the last */
    assert_int_equal(pair->rec[0].count, USABLE + 1);
    for (uint32_t i = 0; i <= USABLE; i++)
        expect_write(&pair->rec[0], i, BELL, 0, 4, i);
    struct ringd_ring_stats stats = ring_stats(pair, 0);
    assert_int_equal(stats.full_exits, 1);
    assert_int_equal(stats.entries, USABLE);
    assert_int_equal(stats.entries_vcpu, USABLE);
    assert_int_equal(stats.batch_max, USABLE);
    struct ringd_region_stats region;
    assert_int_equal(ringd_region_stats(pair->dev[0], BELL, &region), 0);
    assert_int_equal(region.posted, USABLE);
    assert_int_equal(region.batches, 1);
    assert_int_equal(region.batch_max, USABLE);
    assert_int_equal(region.full_exits, 1);
}

/* Widths that a region does not take, posted and synchronous, are split from the lowest offset up. */
static void widths(void **state)
{
    static const struct {
        unsigned region, offset, width;
        unsigned parts;
        struct {
            unsigned offset, width;
            uint64_t value;
        } part[8];
    } cases[] = {
        {INDEX, 0, 1, 1, {{0, 1, 0x88}}},
        {INDEX, 1, 2, 1, {{1, 2, 0x7788}}},
        {INDEX, 0, 4, 1, {{0, 4, 0x55667788}}},
        {BYTES, 3, 1, 1, {{3, 1, 0x88}}},
        {BYTES, 3, 2, 2, {{3, 1, 0x88}, {4, 1, 0x77}}},
        {BYTES, 12, 4, 4, {{12, 1, 0x88}, {13, 1, 0x77}, {14, 1, 0x66}, {15, 1, 0x55}}},
        {BYTES,
         8,
         8,
         8,
         {{8, 1, 0x88},
          {9, 1, 0x77},
          {10, 1, 0x66},
          {11, 1, 0x55},
          {12, 1, 0x44},
          {13, 1, 0x33},
          {14, 1, 0x22},
          {15, 1, 0x11}}},
        {BELL, 4, 4, 1, {{4, 4, 0x55667788}}},
        {BELL, 4088, 8, 2, {{4088, 4, 0x55667788}, {4092, 4, 0x11223344}}},
        {BELL, 5, 1, 1, {{5, 1, 0x88}}}, /* narrower than it takes: passed on as it is */
        {BELL, 6, 2, 1, {{6, 2, 0x7788}}},
        {QWORDS, 0, 8, 1, {{0, 8, 0x1122334455667788}}},
        {QWORDS, 0, 4, 2, {{0, 2, 0x7788}, {2, 2, 0x5566}}},
        {QWORDS, 62, 2, 1, {{62, 2, 0x7788}}},
        {QWORDS, 63, 1, 1, {{63, 1, 0x88}}},
    };
    static const uint64_t at[RECORDER_REGIONS] = {PORT, PORT + 4, BELL_AT, BYTES_AT, QWORDS_AT};
    struct pair *pair = *state;
    struct recorder *rec = &pair->rec[0];
    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned region = cases[i].region, width = cases[i].width;
        rec->count = 0;
        push(pair, 0, region == INDEX, at[region] + cases[i].offset, 0x1122334455667788, width);
        ringd_drain(pair->rd);
        ringd_write(pair->dev[0], region, cases[i].offset, width, 0x1122334455667788);
        assert_int_equal(rec->count, 2 * cases[i].parts);
        for (unsigned j = 0; j < rec->count; j++) {
            unsigned k = j % cases[i].parts;
            expect_write(rec, j, region, cases[i].part[k].offset, cases[i].part[k].width, cases[i].part[k].value);
        }
        rec->count = 0;
        uint64_t value = ringd_read(pair->dev[0], region, cases[i].offset, width), expected = 0;
        for (unsigned j = 0; j < width; j++)
            expected |= (uint64_t)(0x80 | ((cases[i].offset + j) & 0x7f)) << (j * 8);
        assert_int_equal(value, expected);
        assert_int_equal(rec->count, cases[i].parts);
    }
}

/* Any width from 1 to 8, posted (KVM cuts a write at a page's end) and synchronous: each byte reaches the model once,
 * in parts that it may get. */
static void odd_widths(void **state)
{
    static const uint64_t at[RECORDER_REGIONS] = {PORT, PORT + 4, BELL_AT, BYTES_AT, QWORDS_AT};
    struct pair *pair = *state;
    struct recorder *rec = &pair->rec[0];
    for (unsigned i = 0; i < 2 * RECORDER_REGIONS; i++) {
        unsigned region = i / 2;
        bool posted = i % 2 && region != DATA;
        for (unsigned width = 1; width <= 8 && width <= recorder_regions[region].size; width++) {
            rec->count = 0;
            if (posted) {
                push(pair, 0, region == INDEX, at[region], UINT64_MAX, width);
                ringd_drain(pair->rd);
            } else {
                ringd_write_part(pair->dev[0], region, 0, width, UINT64_MAX);
            }
            uint64_t done = 0;
            for (unsigned j = 0; j < rec->count; j++) {
                unsigned part = rec->log[j].width;
                assert_int_equal(rec->log[j].offset, done);
                assert_true(part == 1 || part == 2 || part == 4 || part == 8);
                assert_int_equal(rec->log[j].value, UINT64_MAX >> (64 - part * 8));
                done += part;
            }
            assert_int_equal(done, width);
        }
    }
    assert_int_equal(ring_stats(pair, 0).bad, 0);
}

/* Only what lies wholly inside one posted region of the ring's own device is replayed. */
static void edges(void **state)
{
    static const struct {
        bool pio;
        uint64_t addr;
        uint32_t len;
        int region; /* -1: dropped */
        uint64_t offset;
    } cases[] = {
        {true, PORT - 1, 1, -1, 0},
        {true, PORT - 1, 2, -1, 0}, /* straddles the beginning */
        {true, PORT, 1, INDEX, 0},
        {true, PORT + 3, 1, INDEX, 3},
        {true, PORT + 2, 2, INDEX, 2},
        {true, PORT + 3, 2, -1, 0}, /* straddles the end */
        {true, PORT + 1, 4, -1, 0},
        {true, PORT, 8, -1, 0},
        {true, PORT + 4, 1, -1, 0},     /* a region of the device, but not a posted one */
        {false, PORT, 1, -1, 0},        /* the other space */
        {true, PORT + 0x100, 1, -1, 0}, /* another device's */
        {true, UINT64_C(0x100000000) + PORT, 1, -1, 0},
        {false, BELL_AT, 4, BELL, 0},
        {false, BELL_AT + 4092, 4, BELL, 4092},
        {false, BELL_AT + 4093, 4, -1, 0},
        {false, BELL_AT + 4096, 1, -1, 0},
        {false, BELL_AT - 1, 1, -1, 0},
        {true, BELL_AT, 4, -1, 0},
        {false, BELL_AT + 0x10000, 4, -1, 0},
        {false, BYTES_AT + 15, 1, BYTES, 15},
        {false, BYTES_AT + 15, 2, -1, 0},
        {false, 0, 8, -1, 0},
        {false, UINT64_MAX, 1, -1, 0},
        {false, UINT64_MAX, 8, -1, 0}, /* wraps */
        {false, UINT64_MAX - 6, 8, -1, 0},
    };
    struct pair *pair = *state;
    struct recorder *rec = &pair->rec[0];
    uint64_t bad = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        rec->count = 0;
        push(pair, 0, cases[i].pio, cases[i].addr, 0, cases[i].len);
        ringd_drain(pair->rd);
        if (cases[i].region < 0) {
            assert_int_equal(rec->count, 0);
            assert_int_equal(ring_stats(pair, 0).bad, ++bad);
        } else {
            assert_true(rec->count > 0);
            assert_int_equal(rec->log[0].region, cases[i].region);
            assert_int_equal(rec->log[0].offset, cases[i].offset);
            assert_int_equal(ring_stats(pair, 0).bad, bad);
        }
    }
    assert_int_equal(pair->rec[1].count, 0);
}

/* Malformed entries, indices out of range: counted and dropped, and the good ones before, after and beside are not. */
static void bad_entries(void **state)
{
    static const struct {
        uint32_t len, pio;
    } bad[] = {{0, 1}, {9, 1}, {16, 1}, {0x101, 1}, {UINT32_MAX, 1}, {1, 2}, {1, UINT32_MAX}};
    struct pair *pair = *state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        push(pair, 0, true, PORT, i, 1);
        uint32_t at = pair->page[0]->last;
        push(pair, 0, true, PORT, 0xee, 1);
        pair->page[0]->entries[at].len = bad[i].len;
        pair->page[0]->entries[at].pio = bad[i].pio;
        push(pair, 1, true, PORT + 0x100, 0x80 + i, 1);
    }
    push(pair, 0, true, PORT, COUNT(bad), 1);
    ringd_drain(pair->rd);
    assert_int_equal(pair->rec[0].count, COUNT(bad) + 1);
    for (unsigned i = 0; i <= COUNT(bad); i++)
        expect_write(&pair->rec[0], i, INDEX, 0, 1, i);
    assert_int_equal(pair->rec[1].count, COUNT(bad));
    assert_int_equal(ring_stats(pair, 0).bad, COUNT(bad));
    assert_int_equal(ring_stats(pair, 1).bad, 0);

    uint32_t last = pair->page[0]->last;
    push(pair, 1, true, PORT + 0x100, 0x42, 1);
    pair->page[0]->last = RINGD_RING_SLOTS;
    ringd_drain(pair->rd);
    assert_int_equal(ring_stats(pair, 0).bad, COUNT(bad) + 1);
    assert_int_equal(ringd_read(pair->dev[0], DATA, 0, 1), 0x80); /* a device with a broken ring still answers */
    assert_int_equal(pair->rec[1].count, COUNT(bad) + 1);
    pair->page[0]->last = last;
    pair->rec[0].count = 0;
    push(pair, 0, true, PORT, 0x43, 1);
    ringd_drain(pair->rd);
    expect_write(&pair->rec[0], 0, INDEX, 0, 1, 0x43);
}

static void note_call(void *self, void *arg)
{
    *(unsigned *)arg = ((struct recorder *)self)->count;
}

/* Each kind of synchronous access finds its own device's posted writes done, and only these. */
static void drain_before_access(void **state)
{
    struct pair *pair = *state;
    struct recorder *rec = &pair->rec[0];
    unsigned seen;
    push(pair, 1, true, PORT + 0x100, 1, 1);
    for (unsigned i = 0; i < 4; i++) {
        rec->count = 0;
        push(pair, 0, true, PORT, 0x0c, 1);
        push(pair, 0, false, BELL_AT, 77, 4);
        switch (i) {
        case 0:
            ringd_read(pair->dev[0], DATA, 0, 1);
            break;
        case 1:
            ringd_write(pair->dev[0], DATA, 0, 1, 0x55);
            break;
        case 2: /* outw at the last port of the region: one part of it here, the other elsewhere */
            ringd_write_part(pair->dev[0], INDEX, 3, 1, 0x66);
            break;
        default:
            ringd_call(pair->dev[0], note_call, &seen);
            assert_int_equal(seen, 2);
            break;
        }
        expect_write(rec, 0, INDEX, 0, 1, 0x0c);
        expect_write(rec, 1, BELL, 0, 4, 77);
        assert_int_equal(rec->count, i < 3 ? 3 : 2);
    }
    assert_int_equal(ring_stats(pair, 0).full_exits, 0); /* neither a part nor a synchronous region's write is one */
    ringd_write(pair->dev[0], INDEX, 0, 1, 1);
    assert_int_equal(ring_stats(pair, 0).full_exits, 1);
    assert_int_equal(pair->rec[1].count, 0); /* the other ring has been left alone */
    assert_int_equal(ring_stats(pair, 0).entries_vcpu, 6);
}

static void map_and_unmap(void **state)
{
    struct pair *pair = *state;
    struct recorder *rec = &pair->rec[0];
    struct ringd_region_stats stats;

    push(pair, 0, false, BELL_AT + 8, 1, 4);
    assert_int_equal(ringd_map(pair->dev[0], BELL, 0xd0000000), 0); /* moved: the old place's writes come first */
    expect_write(rec, 0, BELL, 8, 4, 1);
    push(pair, 0, false, BELL_AT + 8, 2, 4);
    push(pair, 0, false, 0xd0000ffc, 3, 4);
    ringd_drain(pair->rd);
    expect_write(rec, 1, BELL, 0xffc, 4, 3);
    assert_int_equal(rec->count, 2);
    assert_int_equal(ring_stats(pair, 0).bad, 1);
    assert_int_equal(ringd_region_stats(pair->dev[0], BELL, &stats), 0);
    assert_true(stats.mapped && stats.zone);
    assert_int_equal(stats.addr, 0xd0000000);
    assert_int_equal(stats.posted, 2);

    push(pair, 0, false, 0xd0000000, 4, 4);
    assert_int_equal(ringd_unmap(pair->dev[0], BELL), 0);
    expect_write(rec, 2, BELL, 0, 4, 4);
    push(pair, 0, false, 0xd0000000, 5, 4);
    push(pair, 0, true, PORT, 6, 1); /* the other regions stay */
    ringd_drain(pair->rd);
    expect_write(rec, 3, INDEX, 0, 1, 6);
    assert_int_equal(rec->count, 4);
    assert_int_equal(ringd_region_stats(pair->dev[0], BELL, &stats), 0);
    assert_false(stats.mapped || stats.zone);
    assert_int_equal(stats.posted, 3);
    assert_int_equal(ringd_unmap(pair->dev[0], BELL), 0);
    assert_int_equal(ringd_map(pair->dev[0], BELL, BELL_AT), 0);
    assert_int_equal(ringd_map(pair->dev[0], BELL, BELL_AT), 0); /* to where it is */
    push(pair, 0, false, BELL_AT, 7, 4);
    ringd_drain(pair->rd);
    expect_write(rec, 4, BELL, 0, 4, 7);

    assert_int_equal(ringd_region_stats(pair->dev[0], DATA, &stats), 0);
    assert_true(stats.mapped && !stats.zone);
}

/* Moving or removing a synchronous region drains too: the header promises it for both calls. */
static void mapping_a_sync_region_drains(void **state)
{
    struct pair *pair = *state;
    push(pair, 0, true, PORT, 1, 1);
    assert_int_equal(ringd_map(pair->dev[0], DATA, 0x500), 0);
    assert_int_equal(pair->rec[0].count, 1);
    push(pair, 0, true, PORT, 2, 1);
    assert_int_equal(ringd_unmap(pair->dev[0], DATA), 0);
    assert_int_equal(pair->rec[0].count, 2);
}

static void map_errors(void **state)
{
    struct pair *pair = *state;
    static const struct {
        unsigned region;
        uint64_t addr;
        int ret;
    } cases[] = {
        {BELL, BELL_AT + 0x10000, -EEXIST},        /* the other device's */
        {BELL, BELL_AT + 0x10000 + 4095, -EEXIST}, /* by a byte */
        {BELL, BELL_AT + 0x10000 - 4095, -EEXIST},
        {BELL, BELL_AT + 0x10000 - 4096, 0}, /* side by side */
        {BELL, BELL_AT + 0x10000 + 4096, 0},
        {BELL, BYTES_AT + 8, -EEXIST}, /* its own device's */
        {BELL, UINT64_MAX - 4096, 0},
        {BELL, UINT64_MAX - 4095, -EINVAL},
        {BELL, UINT64_MAX, -EINVAL},
        {INDEX, 0xfffc, 0},
        {INDEX, 0xfffd, -EINVAL},
        {INDEX, 0x10000, -EINVAL},
        {INDEX, PORT + 0x101, -EEXIST}, /* stays at 0xfffc */
        {DATA, PORT + 0x100, 0},        /* not a posted region: no zone */
        {RECORDER_REGIONS, 0, -EINVAL},
        {BELL, BELL_AT + 8, 0},
        {BELL, BELL_AT, 0}, /* over where it was itself */
        {BELL, BYTES_AT + 8, -EEXIST},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(ringd_map(pair->dev[0], cases[i].region, cases[i].addr), cases[i].ret);
    assert_int_equal(ringd_unmap(pair->dev[0], RECORDER_REGIONS), -EINVAL);
    struct ringd_region_stats stats;
    assert_int_equal(ringd_region_stats(pair->dev[0], RECORDER_REGIONS, &stats), -ENOENT);
    push(pair, 1, false, BELL_AT + 0x10000, 9, 4); /* who was there first is still there */
    push(pair, 0, true, 0xfffc, 8, 1);             /* and so is who could not move */
    push(pair, 0, false, BELL_AT + 4, 7, 4);
    ringd_drain(pair->rd);
    expect_write(&pair->rec[1], 0, BELL, 0, 4, 9);
    expect_write(&pair->rec[0], 0, INDEX, 0, 1, 8);
    expect_write(&pair->rec[0], 1, BELL, 4, 4, 7);
    assert_int_equal(ringd_region_stats(pair->dev[0], BELL, &stats), 0);
    assert_true(stats.mapped && stats.zone && stats.addr == BELL_AT);
}

static void statistics_add_up(void **state)
{
    struct pair *pair = *state;
    uint64_t posted = 0, latencies = 0, full = 0;
    for (unsigned i = 0; i < 1000; i++) {
        push(pair, 0, true, PORT + i % 4, i, 1);
        push(pair, 0, false, BELL_AT, i, 4);
        if (i % 5 == 0)
            push(pair, 0, false, 0x1234, i, 4); /* bad */
        if (i % 10 == 3)
            ringd_read(pair->dev[0], DATA, 0, 1);
        if (i % 10 == 9)
            ringd_drain(pair->rd);
    }
    for (unsigned i = 0; i < RECORDER_REGIONS; i++) {
        struct ringd_region_stats region;
        assert_int_equal(ringd_region_stats(pair->dev[0], i, &region), 0);
        posted += region.posted;
        latencies += region.latency.count;
        full += region.full_exits;
        assert_true(region.batch_max <= region.posted && region.batches <= region.posted);
        assert_true(region.posted <= region.batches * region.batch_max);
    }
    struct ringd_ring_stats stats = ring_stats(pair, 0);
    assert_string_equal(stats.name, "recorder");
    assert_int_equal(posted, 2000);
    assert_int_equal(stats.bad, 200);
    assert_int_equal(stats.entries, posted + stats.bad);
    assert_int_equal(stats.batches, 200);
    assert_int_equal(stats.batch_max, 13);
    assert_int_equal(stats.entries_vcpu, 9 * 100);
    assert_int_equal(latencies, posted);
    assert_int_equal(full, 0);
    assert_int_equal(stats.latency.count, posted);
    assert_true(stats.latency.min <= stats.latency.avg && stats.latency.avg <= stats.latency.max);
    assert_true(stats.latency.p50 <= stats.latency.p99 && stats.latency.p99 <= stats.latency.p999);
    assert_true(stats.latency.p999 <= stats.latency.max);
    assert_int_equal(stats.wakeups + stats.looks, 0);
    assert_int_equal(pair->rec[0].count, posted + 100);
    assert_int_equal(ring_stats(pair, 1).entries, 0);
    assert_int_equal(ring_stats(pair, 1).latency.count, 0);
    assert_int_equal(ringd_ring_count(pair->rd), 2);
    assert_int_equal(ringd_ring_stats(pair->rd, 2, &stats), -ENOENT);

    struct ringd_counter counters[4];
    assert_int_equal(ringd_dev_counters(pair->dev[0], counters, 4), 1);
    assert_int_equal(counters[0].value, posted + 100);
    struct ringd_lock_stats lock;
    ringd_dev_lock_stats(pair->dev[0], &lock);
    assert_int_equal(lock.waits + lock.wait_ns + lock.wait_max_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(order_exactly_once, setup, teardown),
        cmocka_unit_test_setup_teardown(full_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(widths, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_widths, setup, teardown),
        cmocka_unit_test_setup_teardown(edges, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(drain_before_access, setup, teardown),
        cmocka_unit_test_setup_teardown(map_and_unmap, setup, teardown),
        cmocka_unit_test_setup_teardown(mapping_a_sync_region_drains, setup, teardown),
        cmocka_unit_test_setup_teardown(map_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(statistics_add_up, setup, teardown),
    };

    return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
