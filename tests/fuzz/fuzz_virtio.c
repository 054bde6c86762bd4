/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio devices in hostile guest memory. The first byte chooses the device; each operation after it is one byte, then
 * its operands: registers, memory of the queues, completions and input in any order. The surroundings check what they
 * are handed: every segment lies in guest memory, no request is handed out twice.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ringd/models/virtio_blk.h>
#include <ringd/models/virtio_console.h>
#include <ringd/models/virtio_rng.h>

#include "fake_env.h"

#define MEMORY  0x8000u
#define SECTORS 64u
#define QUEUES  3u /* one of them may not be there */

struct input {
    const uint8_t *data;
    size_t left;
};

static struct fake_env fake;
static bool under_way[VIRTIO_QUEUE_SIZE_MAX];
static unsigned count;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes && in->left; i++, in->data++, in->left--)
        value |= (uint64_t)*in->data << (8 * i);
    return value;
}

static void check_memory(const void *base, size_t bytes)
{
    const uint8_t *at = base;
    require(at >= fake.memory && bytes <= MEMORY && at + bytes <= fake.memory + MEMORY);
}

static size_t random_bytes(void *ctx, void *to, size_t bytes)
{
    (void)ctx;
    check_memory(to, bytes);
    memset(to, 0x5a, bytes);
    return bytes;
}

static int submit(void *ctx, const struct virtio_blk_request *request)
{
    size_t sum = 0;
    (void)ctx;
    require(request->tag < VIRTIO_QUEUE_SIZE_MAX && !under_way[request->tag]);
    require(request->offset % 512 == 0 && request->bytes % 512 == 0);
    require(request->offset <= SECTORS * 512 && request->bytes <= SECTORS * 512 - request->offset);
    for (unsigned i = 0; i < request->segment_count; i++) {
        check_memory(request->segments[i].base, request->segments[i].bytes);
        sum += request->segments[i].bytes;
        if (request->op == VIRTIO_BLK_READ)
            memset(request->segments[i].base, 0xdd, request->segments[i].bytes);
    }
    require(sum == (request->op <= VIRTIO_BLK_WRITE ? request->bytes : 0));
    under_way[request->tag] = true;
    count++;
    return 0;
}

static void go(void *ctx)
{
    (void)ctx;
}

static void complete(unsigned tag, int result)
{
    struct virtio_blk_completions done = {.count = 1, .items = {{tag, result}}};
    if (!under_way[tag])
        return;
    under_way[tag] = false;
    count--;
    virtio_blk_complete(fake.self, &done);
}

/* Sound rings at fixed places, so that the fuzzer need not find the way there. */
static void set_up(uint64_t features)
{
    static const uint8_t steps[] = {0, 1, 3, 11};
    for (unsigned i = 0; i < 4; i++) {
        if (i == 3)
            for (unsigned half = 0; half < 2; half++) {
                fake_write(&fake, VIRTIO_REGION_COMMON, 0, 4, half);
                uint64_t offered = fake_read(&fake, VIRTIO_REGION_COMMON, 4, 4);
                fake_write(&fake, VIRTIO_REGION_COMMON, 8, 4, half);
                fake_write(&fake, VIRTIO_REGION_COMMON, 12, 4, half ? 1 : offered & features);
            }
        fake_write(&fake, VIRTIO_REGION_COMMON, 20, 1, steps[i]);
    }
    for (unsigned i = 0; i < QUEUES; i++) {
        fake_write(&fake, VIRTIO_REGION_COMMON, 22, 2, i);
        fake_write(&fake, VIRTIO_REGION_COMMON, 24, 2, 8);
        fake_write(&fake, VIRTIO_REGION_COMMON, 26, 2, i);
        fake_write(&fake, VIRTIO_REGION_COMMON, 32, 4, i * 0x200);
        fake_write(&fake, VIRTIO_REGION_COMMON, 40, 4, i * 0x200 + 0x80);
        fake_write(&fake, VIRTIO_REGION_COMMON, 48, 4, i * 0x200 + 0x100);
        fake_write(&fake, VIRTIO_REGION_COMMON, 28, 2, 1);
    }
    fake_write(&fake, VIRTIO_REGION_COMMON, 20, 1, 15);
}

static void memory_op(struct input *in)
{
    uint64_t at = take(in, 2) % MEMORY, bytes = take(in, 1) % 33;
    for (uint64_t i = 0; i < bytes && at + i < MEMORY; i++)
        fake.memory[at + i] = (uint8_t)take(in, 1);
}

/* One descriptor, near to what a driver writes; and one more entry in the available ring. */
static void describe_op(struct input *in)
{
    uint64_t queue = take(in, 1) % QUEUES, index = take(in, 1) % 8, addr = take(in, 2), len = take(in, 2);
    uint64_t flags = take(in, 1) & 7, next = take(in, 1) % 9;
    uint8_t *desc = fake.memory + queue * 0x200 + index * 16, *avail = fake.memory + queue * 0x200 + 0x80;
    uint16_t idx;
    memcpy(desc, &addr, 8);
    memcpy(desc + 8, &len, 4);
    memcpy(desc + 12, &flags, 2);
    memcpy(desc + 14, &next, 2);
    memcpy(&idx, avail + 2, 2);
    memcpy(avail + 4 + 2 * (idx % 8), &index, 2);
    idx++;
    if (flags & 1)
        memcpy(avail + 2, &idx, 2);
}

static void receive_op(struct input *in, bool console)
{
    uint8_t data[16];
    struct virtio_console_input input = {.data = data, .len = take(in, 1) % sizeof(data)};
    memset(data, 'x', sizeof(data));
    if (!console)
        return;
    virtio_console_receive(fake.self, &input);
    require(input.taken <= input.len);
}

static void operate(struct input *in, unsigned device)
{
    uint64_t op = take(in, 1), offset, width;
    unsigned region = (unsigned)(op >> 4) % VIRTIO_REGIONS, queue;
    const struct ringd_region *desc = &fake.device->regions[region];
    switch (op & 15) {
    case 0:
    case 1:
        offset = take(in, 1);
        width = UINT64_C(1) << (offset >> 6 & 1) << (offset >> 7 & 1);
        offset %= 64;
        if (offset + width > desc->size)
            break;
        if (op & 1)
            fake_write(&fake, region, offset, (unsigned)width, take(in, (unsigned)width));
        else
            (void)fake_read(&fake, region, offset, (unsigned)width);
        break;
    case 2:
        set_up(take(in, 4));
        break;
    case 3:
    case 4:
        memory_op(in);
        break;
    case 5:
    case 6:
    case 7:
        describe_op(in);
        break;
    case 8:
        queue = (unsigned)(op >> 4);
        virtio_notify(fake.self, &queue);
        break;
    case 9:
    case 10:
        if (device == 0)
            complete((unsigned)take(in, 1), op & 16 ? 0 : -EIO);
        break;
    case 11:
        receive_op(in, device == 1);
        break;
    case 12:
        require(fake_env_advance(&fake, 1));
        break;
    case 13:
        fake.device->reset(fake.self);
        break;
    default:
        fake_write(&fake, VIRTIO_REGION_NOTIFY, (op >> 4 & 3) * VIRTIO_PCI_NOTIFY_STEP, 2, 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct virtio_blk_config blk = {
        .bytes = SECTORS * 512, .block_size = 512, .discard = true, .submit = submit, .go = go};
    const struct virtio_rng_config rng = {.random = random_bytes};
    const struct virtio_console_config console = {0};
    static const struct ringd_device_ops *const ops[] = {&virtio_blk_ops, &virtio_console_ops, &virtio_rng_ops};
    const void *const configs[] = {&blk, &console, &rng};
    struct input in = {data, size};
    unsigned device = (unsigned)take(&in, 1) % 3, in_flight;

    memset(under_way, 0, sizeof(under_way));
    count = 0;
    if (fake_env_create(&fake, ops[device], configs[device], MEMORY))
        abort();
    while (in.left)
        operate(&in, device);
    virtio_in_flight(fake.self, &in_flight);
    require(in_flight == count);
    for (unsigned i = 0; i < VIRTIO_QUEUE_SIZE_MAX; i++)
        while (under_way[i])
            complete(i, 0);
    virtio_in_flight(fake.self, &in_flight);
    require(in_flight == 0);
    fake_env_destroy(&fake);
    return 0;
}
