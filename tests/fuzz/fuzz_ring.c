/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile producer: the page's contents, whole or in part, change between replays, and regions are mapped, moved and
 * removed meanwhile. Held: models only see accesses inside their regions, in widths and values they may; each posted
 * write is counted once; a drain takes no more than the ring holds and ends where the producer's index is; the
 * neighbour, whose ring nobody scribbles on, gets exactly its own writes in order.
 */
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

enum operation { PAGE, POKE, INDICES, PUSH, READ, WRITE, PART, CALL, DRAIN, MAP, UNMAP, PAUSE, NEIGHBOUR, OPERATIONS };

struct input {
    const uint8_t *data;
    size_t size;
};

struct target {
    struct ringd *rd;
    struct ringd_dev *dev[2];
    struct recorder rec[2];
    struct ringd_ring_page *page[2];
    uint64_t at[RECORDER_REGIONS];
    uint32_t sent, received; /* the neighbour's */
};

static struct target target;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t take(struct input *input, size_t len)
{
    uint64_t value = 0;
    if (len > input->size)
        len = input->size;
    memcpy(&value, input->data, len);
    input->data += len;
    input->size -= len;
    return value;
}

static void check_access(unsigned region, uint64_t offset, unsigned width)
{
    require(region < RECORDER_REGIONS);
    require(width == 1 || width == 2 || width == 4 || width == 8);
    require(offset < recorder_regions[region].size && width <= recorder_regions[region].size - offset);
    unsigned widths = recorder_regions[region].widths;
    require((widths & width) || width < (widths & -widths)); /* or narrower than every one of them */
}

static uint64_t checked_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    check_access(region, offset, width);
    return recorder_read(self, region, offset, width);
}

static void checked_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    check_access(region, offset, width);
    require(width == 8 || value >> (width * 8) == 0);
    if (self == &target.rec[1])
        require(region == BELL && offset == 4 && width == 4 && value == target.received++);
    ((struct recorder *)self)->count++;
}

static void note_call(void *self, void *arg)
{
    require(self == &target.rec[0]);
    ++*(unsigned *)arg;
}

static struct ringd_ring_stats ring_stats(unsigned index)
{
    struct ringd_ring_stats stats;
    require(ringd_ring_stats(target.rd, index, &stats) == 0);
    return stats;
}

static uint64_t posted(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < RECORDER_REGIONS; i++) {
        struct ringd_region_stats stats;
        require(ringd_region_stats(target.dev[0], i, &stats) == 0);
        require(stats.latency.count == stats.posted && stats.batch_max <= RINGD_RING_SLOTS - 1);
        sum += stats.posted;
    }
    return sum;
}

static void check(unsigned accesses_before, uint64_t entries_before)
{
    struct ringd_ring_stats stats = ring_stats(0);
    uint64_t good = posted();
    require(good <= stats.entries && stats.entries <= good + stats.bad);
    require(stats.latency.count == good);
    require(stats.batch_max < RINGD_RING_SLOTS);
    /* An operation drains at most twice, and a write or a read reaches the model in at most eight parts. */
    require(stats.entries - entries_before <= 2 * (RINGD_RING_SLOTS - 1));
    require(target.rec[0].count - accesses_before <= 8 * (stats.entries - entries_before + 1));
    require(target.page[0]->first < RINGD_RING_SLOTS || stats.entries == entries_before);
    require(ring_stats(1).bad == 0);
}

static void drained(void)
{
    uint64_t entries = ring_stats(0).entries, bad = ring_stats(0).bad;
    uint32_t last = target.page[0]->last;
    ringd_drain(target.rd);
    require(target.received == target.sent);
    if (last >= RINGD_RING_SLOTS)
        require(ring_stats(0).entries == entries && ring_stats(0).bad == bad + 1);
    else if (ring_stats(0).entries != entries)
        require(target.page[0]->first == last);
}

static void push_neighbour(void)
{
    if (ringd_ring_push(target.page[1], 0xc0000004, 0, &target.sent, 4) == -EAGAIN) {
        ringd_drain(target.rd);
        require(ringd_ring_push(target.page[1], 0xc0000004, 0, &target.sent, 4) >= 0);
    }
    target.sent++;
}

/* Near a region more often than not. */
static uint64_t some_address(struct input *input, unsigned region)
{
    return target.at[region] + (uint64_t)(int16_t)take(input, 2);
}

static void access_region(enum operation op, struct input *input)
{
    unsigned region = (unsigned)take(input, 1) % RECORDER_REGIONS, width = 1 + (unsigned)take(input, 1) % 8;
    uint64_t size = recorder_regions[region].size;
    width = width <= size ? width : (unsigned)size;
    uint64_t offset = take(input, 2) % (size - width + 1);
    if (op == READ)
        require(width == 8 || ringd_read(target.dev[0], region, offset, width) >> (width * 8) == 0);
    else if (op == WRITE)
        ringd_write(target.dev[0], region, offset, width, take(input, 8));
    else
        ringd_write_part(target.dev[0], region, offset, width, take(input, 8));
}

static void map_region(struct input *input)
{
    unsigned region = (unsigned)take(input, 1) % RECORDER_REGIONS;
    uint64_t addr =
        take(input, 1) & 1 ? take(input, 8) : some_address(input, (unsigned)take(input, 1) % RECORDER_REGIONS);
    int ret = ringd_map(target.dev[0], region, addr);
    require(ret == 0 || ret == -EINVAL || ret == -EEXIST);
    if (ret == 0)
        target.at[region] = addr;
}

static void operate(enum operation op, struct input *input)
{
    struct ringd_ring_page *page = target.page[0];
    uint8_t *bytes = (uint8_t *)page;
    switch (op) {
    case PAGE: {
        size_t len = input->size < RINGD_RING_BYTES ? input->size : RINGD_RING_BYTES;
        memcpy(bytes, input->data, len);
        input->data += len;
        input->size -= len;
        break;
    }
    case POKE: {
        size_t at = take(input, 2) % (RINGD_RING_BYTES - 7);
        uint64_t value = take(input, 8);
        memcpy(bytes + at, &value, sizeof(value));
        break;
    }
    case INDICES:
        page->first = (uint32_t)take(input, 1);
        page->last = (uint32_t)take(input, 1);
        break;
    case PUSH: {
        unsigned region = (unsigned)take(input, 1) % RECORDER_REGIONS;
        uint64_t addr = some_address(input, region), value = take(input, 8);
        unsigned shape = (unsigned)take(input, 1);
        (void)ringd_ring_push(page, addr, (recorder_regions[region].space == RINGD_PIO) ^ (shape >> 7), &value,
                              shape & 15);
        break;
    }
    case READ:
    case WRITE:
    case PART:
        access_region(op, input);
        break;
    case CALL: {
        unsigned calls = 0;
        ringd_call(target.dev[0], note_call, &calls);
        require(calls == 1);
        break;
    }
    case DRAIN:
        drained();
        break;
    case MAP:
        map_region(input);
        break;
    case UNMAP:
        require(ringd_unmap(target.dev[0], (unsigned)take(input, 1) % RECORDER_REGIONS) == 0);
        break;
    case PAUSE:
        ringd_pause(target.rd);
        ringd_reset(target.rd);
        ringd_resume(target.rd);
        break;
    case NEIGHBOUR:
    case OPERATIONS:
        push_neighbour();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t at[RECORDER_REGIONS] = {0x70, 0x74, 0xfe000000, 0xfe002000, UINT64_C(0x8000001000)};
    struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    struct ringd_device_ops ops = recorder_ops;
    struct input input = {data, size};

    memset(&target, 0, sizeof(target));
    ops.read = checked_read;
    ops.write = checked_write;
    if (ringd_create(&config, &target.rd))
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        require(ringd_add(target.rd, &ops, &target.rec[i], NULL, &target.dev[i]) == 0);
        require(ringd_memfd_ring(target.dev[i], &target.page[i], NULL, NULL) == 0);
    }
    for (unsigned i = 0; i < RECORDER_REGIONS; i++)
        require(ringd_map(target.dev[0], i, target.at[i] = at[i]) == 0);
    require(ringd_map(target.dev[1], BELL, 0xc0000000) == 0);
    while (input.size) {
        unsigned accesses = target.rec[0].count;
        uint64_t entries = ring_stats(0).entries;
        operate((enum operation)(take(&input, 1) % OPERATIONS), &input);
        check(accesses, entries);
    }
    drained();
    ringd_destroy(target.rd);
    return 0;
}
