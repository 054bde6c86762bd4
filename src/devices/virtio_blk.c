/* SPDX-License-Identifier: BSD-2-Clause */
#include <ringd/models/virtio_blk.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio.h"

/* Features, types and status of a request (VIRTIO 1.2, 5.2.3 and 5.2.6). */
#define F_SEG_MAX      (UINT64_C(1) << 2)
#define F_RO           (UINT64_C(1) << 5)
#define F_BLK_SIZE     (UINT64_C(1) << 6)
#define F_FLUSH        (UINT64_C(1) << 9)
#define F_TOPOLOGY     (UINT64_C(1) << 10)
#define F_DISCARD      (UINT64_C(1) << 13)
#define F_WRITE_ZEROES (UINT64_C(1) << 14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define HEADER_BYTES 16u
#define RANGE_BYTES  16u /* of a discard or a write of zeroes */
#define RANGE_UNMAP  1u

/* Configuration (5.2.4). */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_EXPONENT = 24,
    CONFIG_MIN_IO = 26,
    CONFIG_QUEUES = 34,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_DISCARD_SEGMENTS = 40,
    CONFIG_DISCARD_ALIGNMENT = 44,
    CONFIG_ZEROES_SECTORS = 48,
    CONFIG_ZEROES_SEGMENTS = 52,
    CONFIG_ZEROES_UNMAP = 56,
};

#define SEGMENTS_FOR_DATA (VIRTIO_SEGMENTS_MAX - 2) /* header and status take one each */
#define RANGE_SECTORS     ((uint32_t)(VIRTIO_BLK_RANGE_MOST / VIRTIO_BLK_SECTOR_BYTES))

/* A request that the back end has. */
struct slot {
    struct virtio_blk_request request;
    bool busy;
    bool flush_after; /* the driver knows of no cache: its writes are done when they are on the disk */
    uint32_t epoch;
    uint32_t weight;   /* bytes that have to be moved: its part of under_way */
    uint32_t in_bytes; /* written into the guest's buffer, status included */
    uint8_t *status;
    struct virtio_segment *segments; /* room for SEGMENTS_FOR_DATA + 2; made when first needed */
};

struct virtio_blk {
    struct virtio virtio; /* first */
    struct virtio_blk_config config;
    uint64_t sectors;
    bool submitted;                           /* since go() */
    bool held;                                /* the queue waits until less is under way */
    uint64_t under_way;                       /* the slots' weights */
    struct slot slots[VIRTIO_QUEUE_SIZE_MAX]; /* by the head of a buffer, so no two are one */
    uint64_t reads, writes, flushes, discards, errors, bytes_read, bytes_written;
};

struct header {
    uint32_t type, reserved;
    uint64_t sector;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "as in 5.2.6");

struct range {
    uint64_t sector;
    uint32_t sectors, flags;
};
_Static_assert(sizeof(struct range) == RANGE_BYTES, "as in 5.2.6");

static struct virtio_blk *blk_of(struct virtio *virtio)
{
    return (struct virtio_blk *)(void *)virtio;
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t sectors)
{
    return sector <= blk->sectors && sectors <= blk->sectors - sector;
}

/* The last writable byte, which is the status's. */
static uint8_t *status_of(const struct virtqueue_chain *chain)
{
    const struct virtio_segment *last = &chain->segments[chain->out_count + chain->in_count - 1];
    return (uint8_t *)last->base + last->bytes - 1;
}

/* The chain's data as segments of the slot: [skip, skip + bytes) of its readable or writable part. */
static bool take_data(struct slot *slot, const struct virtqueue_chain *chain, bool in, size_t skip, size_t bytes)
{
    const struct virtio_segment *from = chain->segments + (in ? chain->out_count : 0);
    unsigned count = in ? chain->in_count : chain->out_count;
    slot->request.segment_count = 0;
    if (!slot->segments)
        slot->segments = malloc(VIRTIO_SEGMENTS_MAX * sizeof(*slot->segments));
    if (!slot->segments)
        return false;
    for (unsigned i = 0; i < count && bytes; i++) {
        if (skip >= from[i].bytes) {
            skip -= from[i].bytes;
            continue;
        }
        size_t part = from[i].bytes - skip < bytes ? from[i].bytes - skip : bytes;
        slot->segments[slot->request.segment_count++] =
            (struct virtio_segment){.base = (uint8_t *)from[i].base + skip, .bytes = part};
        bytes -= part;
        skip = 0;
    }
    slot->request.segments = slot->segments;
    return true;
}

static uint8_t begin_transfer(struct virtio_blk *blk, struct slot *slot, const struct virtqueue_chain *chain,
                              const struct header *header)
{
    bool in = header->type == T_IN;
    size_t skip = in ? 0 : HEADER_BYTES, bytes = in ? chain->in_bytes - 1 : chain->out_bytes - HEADER_BYTES;
    if (!bytes || bytes > VIRTIO_BLK_TRANSFER_MOST || bytes % VIRTIO_BLK_SECTOR_BYTES ||
        !in_range(blk, header->sector, bytes / VIRTIO_BLK_SECTOR_BYTES) || (!in && blk->config.read_only) ||
        !take_data(slot, chain, in, skip, bytes))
        return S_IOERR;
    slot->request.op = in ? VIRTIO_BLK_READ : VIRTIO_BLK_WRITE;
    slot->request.offset = header->sector * VIRTIO_BLK_SECTOR_BYTES;
    slot->request.bytes = bytes;
    slot->weight = (uint32_t)bytes;
    slot->flush_after = !in && !virtio_has(&blk->virtio, F_FLUSH);
    slot->in_bytes = in ? chain->in_bytes : 1;
    return S_OK;
}

static uint8_t begin_range(struct virtio_blk *blk, struct slot *slot, const struct virtqueue_chain *chain,
                           const struct header *header)
{
    bool discard = header->type == T_DISCARD;
    struct range range;
    if (!virtio_has(&blk->virtio, discard ? F_DISCARD : F_WRITE_ZEROES))
        return S_UNSUPP;
    if (chain->out_bytes != HEADER_BYTES + RANGE_BYTES)
        return S_IOERR; /* one range a request: what max_discard_seg says */
    virtqueue_read(chain, HEADER_BYTES, &range, sizeof(range));
    if (range.flags & ~(discard ? 0 : RANGE_UNMAP))
        return S_UNSUPP;
    if (!range.sectors || range.sectors > RANGE_SECTORS || !in_range(blk, range.sector, range.sectors) ||
        blk->config.read_only)
        return S_IOERR;
    slot->request.op = discard ? VIRTIO_BLK_DISCARD : VIRTIO_BLK_WRITE_ZEROES;
    slot->request.may_unmap = range.flags & RANGE_UNMAP;
    slot->request.offset = range.sector * VIRTIO_BLK_SECTOR_BYTES;
    slot->request.bytes = (uint64_t)range.sectors * VIRTIO_BLK_SECTOR_BYTES;
    slot->weight = discard ? 0 : (uint32_t)slot->request.bytes; /* the host may have to write the zeroes */
    slot->flush_after = !discard && !virtio_has(&blk->virtio, F_FLUSH);
    return S_OK;
}

/* Fills the slot for the back end: S_OK, or the status with which the request is over. */
static uint8_t begin(struct virtio_blk *blk, struct slot *slot, const struct virtqueue_chain *chain,
                     const struct header *header)
{
    switch (header->type) {
    case T_IN:
    case T_OUT:
        return begin_transfer(blk, slot, chain, header);
    case T_FLUSH:
        slot->request.op = VIRTIO_BLK_FLUSH;
        return S_OK;
    case T_DISCARD:
    case T_WRITE_ZEROES:
        return begin_range(blk, slot, chain, header);
    default:
        return S_UNSUPP;
    }
}

/* What a reset of the machine has to wait for is kept within bounds: the rest of the queue stays where it is. */
static bool must_wait(const struct virtio_blk *blk, const struct slot *slot)
{
    return slot->weight && blk->under_way && blk->under_way + slot->weight > VIRTIO_BLK_UNDER_WAY_MOST;
}

static void tally(struct virtio_blk *blk, const struct virtio_blk_request *request)
{
    bool read = request->op == VIRTIO_BLK_READ, write = request->op == VIRTIO_BLK_WRITE;
    blk->reads += read;
    blk->writes += write || request->op == VIRTIO_BLK_WRITE_ZEROES;
    blk->flushes += request->op == VIRTIO_BLK_FLUSH;
    blk->discards += request->op == VIRTIO_BLK_DISCARD;
    blk->bytes_read += read ? request->bytes : 0;
    blk->bytes_written += write ? request->bytes : 0;
}

static bool submit(struct virtio_blk *blk, struct slot *slot)
{
    slot->busy = blk->config.submit(blk->config.ctx, &slot->request) == 0;
    blk->submitted |= slot->busy;
    blk->under_way += slot->busy ? slot->weight : 0;
    blk->virtio.in_flight += slot->busy;
    return slot->busy;
}

static void answer(struct virtio_blk *blk, const struct virtqueue_chain *chain, uint8_t status, uint32_t bytes)
{
    blk->errors += status != S_OK;
    *status_of(chain) = status;
    virtio_finish(&blk->virtio, 0, chain->head, bytes + 1);
}

static uint32_t get_id(const struct virtio_blk *blk, const struct virtqueue_chain *chain)
{
    size_t room = chain->in_bytes - 1;
    return (uint32_t)virtqueue_write(chain, 0, blk->config.serial,
                                     room < VIRTIO_BLK_SERIAL_BYTES ? room : VIRTIO_BLK_SERIAL_BYTES);
}

static enum virtio_served serve(struct virtio *virtio, unsigned queue, struct virtqueue_chain *chain)
{
    struct virtio_blk *blk = blk_of(virtio);
    struct header header;
    (void)queue;
    struct slot *slot = &blk->slots[chain->head];
    if (!chain->in_bytes || virtqueue_read(chain, 0, &header, sizeof(header)) != sizeof(header) || slot->busy)
        return VIRTIO_BAD; /* no place for a status, no request, or a buffer that we have already */
    if (header.type == T_GET_ID) {
        answer(blk, chain, S_OK, get_id(blk, chain));
        return VIRTIO_DONE;
    }
    slot->request = (struct virtio_blk_request){.tag = chain->head};
    slot->flush_after = false;
    slot->weight = 0;
    slot->in_bytes = 1;
    slot->epoch = virtio->epoch;
    slot->status = status_of(chain);
    uint8_t status = begin(blk, slot, chain, &header);
    if (status == S_OK && must_wait(blk, slot)) {
        blk->held = true;
        return VIRTIO_LATER;
    }
    if (status == S_OK)
        tally(blk, &slot->request);
    if (status != S_OK || !submit(blk, slot))
        answer(blk, chain, status != S_OK ? status : S_IOERR, 0);
    return VIRTIO_DONE;
}

/* Once for all that one notification has brought. */
static void served(struct virtio *virtio)
{
    struct virtio_blk *blk = blk_of(virtio);
    if (blk->submitted)
        blk->config.go(blk->config.ctx);
    blk->submitted = false;
}

static void complete(struct virtio_blk *blk, unsigned tag, int result)
{
    struct slot *slot = &blk->slots[tag % VIRTIO_QUEUE_SIZE_MAX];
    if (!slot->busy)
        return;
    slot->busy = false;
    blk->virtio.in_flight--;
    blk->under_way -= slot->weight;
    slot->weight = 0;
    if (slot->epoch != blk->virtio.epoch || !virtio_is_ready(&blk->virtio))
        return; /* of before a reset, or the driver has broken the device: the buffer is not ours any more */
    if (!result && slot->flush_after) {
        slot->flush_after = false;
        slot->request = (struct virtio_blk_request){.op = VIRTIO_BLK_FLUSH, .tag = tag};
        if (submit(blk, slot))
            return;
        result = -EIO;
    }
    blk->errors += result != 0;
    *slot->status = !result ? S_OK : result == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;
    virtio_finish(&blk->virtio, 0, (uint16_t)tag, result ? 1 : slot->in_bytes);
}

void virtio_blk_complete(void *self, void *arg)
{
    struct virtio_blk *blk = self;
    const struct virtio_blk_completions *done = arg;
    for (unsigned i = 0; i < done->count && i < VIRTIO_BLK_BATCH; i++)
        complete(blk, done->items[i].tag, done->items[i].result);
    if (virtio_is_ready(&blk->virtio))
        virtio_tell(&blk->virtio, 0);
    if (blk->held && blk->under_way <= VIRTIO_BLK_UNDER_WAY_MOST / 2) {
        blk->held = false;
        virtio_run_later(&blk->virtio, 0); /* not here: who drains the device before a reset wants no more of it */
    }
    served(&blk->virtio);
}

static void put(uint8_t *bytes, unsigned offset, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[offset + i] = (uint8_t)(value >> (8 * i));
}

static void config(const struct virtio *virtio, uint8_t bytes[VIRTIO_PCI_CONFIG_BYTES])
{
    const struct virtio_blk *blk = (const struct virtio_blk *)(const void *)virtio;
    uint32_t sectors = blk->config.block_size / VIRTIO_BLK_SECTOR_BYTES;
    put(bytes, CONFIG_CAPACITY, blk->sectors, 8);
    put(bytes, CONFIG_SEG_MAX, SEGMENTS_FOR_DATA, 4);
    /* The guest may address each sector; it is told what the back end likes. */
    put(bytes, CONFIG_BLK_SIZE, VIRTIO_BLK_SECTOR_BYTES, 4);
    put(bytes, CONFIG_PHYSICAL_EXPONENT, (unsigned)__builtin_ctz(sectors), 1);
    put(bytes, CONFIG_MIN_IO, sectors, 2);
    put(bytes, CONFIG_QUEUES, 1, 2);
    if (virtio->features & F_DISCARD) {
        put(bytes, CONFIG_DISCARD_SECTORS, RANGE_SECTORS, 4);
        put(bytes, CONFIG_DISCARD_SEGMENTS, 1, 4);
        put(bytes, CONFIG_DISCARD_ALIGNMENT, sectors, 4);
    }
    if (virtio->features & F_WRITE_ZEROES) {
        put(bytes, CONFIG_ZEROES_SECTORS, RANGE_SECTORS, 4);
        put(bytes, CONFIG_ZEROES_SEGMENTS, 1, 4);
        put(bytes, CONFIG_ZEROES_UNMAP, blk->config.discard, 1);
    }
}

static const struct virtio_kind kind = {.queues = 1, .serve = serve, .served = served, .config = config};

static int blk_create(const struct ringd_env *env, const void *config_ptr, void **self)
{
    const struct virtio_blk_config *cfg = config_ptr;
    if (!cfg || !cfg->submit || !cfg->go || cfg->block_size < VIRTIO_BLK_SECTOR_BYTES || cfg->block_size > 65536 ||
        cfg->block_size & (cfg->block_size - 1))
        return -EINVAL;
    struct virtio_blk *blk = calloc(1, sizeof(*blk));
    if (!blk)
        return -ENOMEM;
    blk->config = *cfg;
    blk->config.serial[VIRTIO_BLK_SERIAL_BYTES] = '\0';
    blk->sectors = cfg->bytes / VIRTIO_BLK_SECTOR_BYTES;
    uint64_t features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY;
    features |= cfg->read_only ? F_RO : F_WRITE_ZEROES | (cfg->discard ? F_DISCARD : 0);
    virtio_init(&blk->virtio, env, &kind, features);
    *self = blk;
    return 0;
}

/* Nobody has a request any more. */
static void blk_destroy(void *self)
{
    struct virtio_blk *blk = self;
    for (unsigned i = 0; i < VIRTIO_QUEUE_SIZE_MAX; i++)
        free(blk->slots[i].segments);
    free(blk);
}

static unsigned blk_counters(void *self, struct ringd_counter *counters, unsigned max)
{
    const struct virtio_blk *blk = self;
    const struct ringd_counter own[] = {
        {"reads", blk->reads},
        {"writes", blk->writes},
        {"flushes", blk->flushes},
        {"discards", blk->discards},
        {"errors", blk->errors},
        {"bytes-read", blk->bytes_read},
        {"bytes-written", blk->bytes_written},
    };
    unsigned count = virtio_counters(self, counters, max);
    for (unsigned i = 0; i < sizeof(own) / sizeof(own[0]); i++, count++)
        if (count < max)
            counters[count] = own[i];
    return count;
}

const struct ringd_device_ops virtio_blk_ops = {
    .name = "virtio-blk",
    .summary = "virtio block device",
    .regions = virtio_regions,
    .region_count = VIRTIO_REGIONS,
    .irq_count = 1 + 2, /* the pin; configuration and queue */
    .timer_count = VIRTIO_TIMER_COUNT,
    .create = blk_create,
    .destroy = blk_destroy,
    .read = virtio_read,
    .write = virtio_write,
    .timer = virtio_timer,
    .reset = virtio_reset,
    .counters = blk_counters,
};
