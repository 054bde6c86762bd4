/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block device (Virtual I/O Device Specification 1.2, 5.2): requests of the guest, checked and handed to a back end.
 * See docs/devices/virtio_blk.md.
 */
#ifndef RINGD_MODELS_VIRTIO_BLK_H
#define RINGD_MODELS_VIRTIO_BLK_H

#include <ringd/device.h>

#include <ringd/api.h>
#include <ringd/models/virtio_pci.h>

RINGD_API_BEGIN

#define VIRTIO_BLK_SECTOR_BYTES 512u /* the unit of the guest's addresses, whatever the block size */
#define VIRTIO_BLK_SERIAL_BYTES 20u

/* Bytes that one request reads or writes at most: what OVMF's driver may ask for, which heeds no limit of the device's.
 */
#define VIRTIO_BLK_TRANSFER_MOST (UINT64_C(1) << 30)

/* Bytes that one request discards or writes zeroes to at most. */
#define VIRTIO_BLK_RANGE_MOST (UINT64_C(16) << 20)

/* Bytes under way, above which the rest of the queue waits; a request that is alone may have more. A reset of the
 * machine, or its end, waits for these. */
#define VIRTIO_BLK_UNDER_WAY_MOST (UINT64_C(64) << 20)

enum virtio_blk_op {
    VIRTIO_BLK_READ,
    VIRTIO_BLK_WRITE,
    VIRTIO_BLK_FLUSH,
    VIRTIO_BLK_DISCARD,
    VIRTIO_BLK_WRITE_ZEROES,
};

/* What the back end has to do. It belongs to the device and stays as it is until it is completed; its segments are
 * guest memory, which vCPUs may change meanwhile. Range, length and alignment to 512 bytes have been checked. */
struct virtio_blk_request {
    enum virtio_blk_op op;
    bool may_unmap; /* WRITE_ZEROES: the range need not stay allocated */
    uint64_t offset, bytes;
    const struct virtio_segment *segments; /* READ, WRITE: `bytes` altogether */
    unsigned segment_count;
    unsigned tag; /* below VIRTIO_QUEUE_SIZE_MAX; no other request under way has it */
};

struct virtio_blk_config {
    uint64_t bytes;      /* of the disk; what is above a multiple of 512 is out of reach */
    uint32_t block_size; /* bytes that the back end likes requests to be multiples of: 512 to 65536, a power of two */
    bool read_only;
    bool discard; /* it can discard */
    char serial[VIRTIO_BLK_SERIAL_BYTES + 1];
    void *ctx;
    /* Takes a request, which go() begins, together with all that were taken before. With the device's lock held: they
     * must not block, nor complete a request from within. submit() returns 0, or -errno and the request is over. */
    int (*submit)(void *ctx, const struct virtio_blk_request *request);
    void (*go)(void *ctx);
};

/* create() takes a struct virtio_blk_config, and returns -EINVAL for an impossible block size or without submit() and
 * go(). */
extern const struct ringd_device_ops virtio_blk_ops;

#define VIRTIO_BLK_BATCH 64u

/* For ringd_call(): requests that have been done, with 0 or -errno for each. Guest memory is not touched for them any
 * more. -EOPNOTSUPP tells the guest that it need not try again, everything else is an I/O error. */
struct virtio_blk_completions {
    unsigned count;
    struct {
        unsigned tag;
        int result;
    } items[VIRTIO_BLK_BATCH];
};
void virtio_blk_complete(void *self, void *arg);

RINGD_API_END

#endif
