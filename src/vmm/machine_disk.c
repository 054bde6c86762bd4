/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk of the machine: a virtio-blk's requests, handed to a block device of the host and back. */
#include "vmm/machine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ringd/models/virtio_blk.h>

#include "vmm/block.h"

/* What file systems of the host like to be asked for; a disk of the guest says so too. */
#define PREFERRED_BYTES 4096u

struct disk_slot {
    struct block_request request; /* first: done() finds the slot by it */
    struct machine_disk *disk;
    struct iovec *iov; /* room for VIRTIO_SEGMENTS_MAX; made when first needed */
};

struct machine_disk {
    struct machine *machine;
    const struct option_disk *option;
    struct block *block;
    struct ringd_dev *dev;
    /* Of a request under way: the block device's. Else under the device's lock, as all that follows. */
    struct disk_slot slots[VIRTIO_QUEUE_SIZE_MAX];
    struct block_request *first, **last; /* taken, not begun */
    /* Of who reaps: the ring thread, or the main thread while that stands still. */
    struct virtio_blk_completions done;
    bool begun; /* block_start() has something to do */
};

/* ---- there ---- */

static void request_done(struct block_request *request, int result);

static int fill_vector(struct disk_slot *slot, const struct virtio_blk_request *request)
{
    if (!slot->iov)
        slot->iov = malloc(VIRTIO_SEGMENTS_MAX * sizeof(*slot->iov));
    if (!slot->iov)
        return -ENOMEM;
    for (unsigned i = 0; i < request->segment_count; i++)
        slot->iov[i] = (struct iovec){.iov_base = request->segments[i].base, .iov_len = request->segments[i].bytes};
    slot->request.iov = slot->iov;
    slot->request.iov_count = request->segment_count;
    return 0;
}

static int submit(void *ctx, const struct virtio_blk_request *request)
{
    static const enum block_op ops[] = {[VIRTIO_BLK_READ] = BLOCK_READ,
                                        [VIRTIO_BLK_WRITE] = BLOCK_WRITE,
                                        [VIRTIO_BLK_FLUSH] = BLOCK_FLUSH,
                                        [VIRTIO_BLK_DISCARD] = BLOCK_DISCARD,
                                        [VIRTIO_BLK_WRITE_ZEROES] = BLOCK_WRITE_ZEROES};
    struct machine_disk *disk = ctx;
    struct disk_slot *slot = &disk->slots[request->tag];
    slot->disk = disk;
    slot->request = (struct block_request){.op = ops[request->op],
                                           .unmap = request->may_unmap,
                                           .offset = request->offset,
                                           .bytes = request->bytes,
                                           .done = request_done};
    if (request->segment_count && fill_vector(slot, request))
        return -ENOMEM;
    *disk->last = &slot->request;
    disk->last = &slot->request.next;
    return 0;
}

static void go(void *ctx)
{
    struct machine_disk *disk = ctx;
    struct block_request *first = disk->first;
    disk->first = NULL;
    disk->last = &disk->first;
    /* Under the device's lock, for which vCPUs wait: the copying to and from the host's page cache comes later. */
    if (first && block_submit_held(disk->block, first))
        disk->begun = true;
}

void machine_disk_start(struct machine_disk *disk)
{
    if (!disk->begun)
        return;
    disk->begun = false;
    block_start(disk->block);
}

/* ---- and back ---- */

static void tell(struct machine_disk *disk)
{
    if (disk->done.count)
        ringd_call(disk->dev, virtio_blk_complete, &disk->done);
    disk->done.count = 0;
}

static void request_done(struct block_request *request, int result)
{
    struct disk_slot *slot = (struct disk_slot *)(void *)request;
    struct machine_disk *disk = slot->disk;
    disk->done.items[disk->done.count].tag = (unsigned)(slot - disk->slots);
    disk->done.items[disk->done.count++].result = result;
    if (disk->done.count == VIRTIO_BLK_BATCH)
        tell(disk);
}

static void on_done(void *ctx)
{
    struct machine_disk *disk = ctx;
    block_reap(disk->block);
    tell(disk);
    machine_disk_start(disk);
}

bool machine_disk_drain(struct machine_disk *disk)
{
    unsigned under_way;
    ringd_call(disk->dev, virtio_in_flight, &under_way);
    if (!under_way)
        return false;
    block_drain(disk->block);
    tell(disk);
    return true;
}

/* ---- its making and end ---- */

int machine_disk_open(struct machine *machine, const struct option_disk *option, struct machine_disk **out)
{
    static const enum block_aio aios[] = {[OPTION_AIO_AUTO] = BLOCK_AIO_AUTO,
                                          [OPTION_AIO_URING] = BLOCK_AIO_URING,
                                          [OPTION_AIO_THREADS] = BLOCK_AIO_THREADS};
    const struct block_config config = {
        .path = option->file, .readonly = option->read_only, .discard = option->discard, .aio = aios[option->aio]};
    struct machine_disk *disk = calloc(1, sizeof(*disk));
    if (!disk)
        return -ENOMEM;
    disk->machine = machine;
    disk->option = option;
    disk->last = &disk->first;
    char error[512];
    int ret = block_open(&config, &disk->block, error, sizeof(error));
    if (ret) {
        fprintf(stderr, "ringvmm: --disk %s\n", error);
        free(disk);
        return ret;
    }
    *out = disk;
    return 0;
}

bool machine_disk_has_boot_sector(const struct option_disk *option)
{
    uint8_t mark[2] = {0x55, 0xaa};
    int fd = open(option->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return true;
    ssize_t got = pread(fd, mark, sizeof(mark), 510);
    close(fd);
    return got != sizeof(mark) || (mark[0] == 0x55 && mark[1] == 0xaa);
}

int machine_disk_add(struct machine_disk *disk, struct machine_function *function, const char *label,
                     struct ringd_dev **out)
{
    uint32_t sector = block_sector_bytes(disk->block);
    struct virtio_blk_config config = {
        .bytes = block_bytes(disk->block),
        .block_size = sector > PREFERRED_BYTES ? sector : PREFERRED_BYTES,
        .read_only = block_readonly(disk->block),
        .discard = block_discards(disk->block),
        .ctx = disk,
        .submit = submit,
        .go = go,
    };
    snprintf(config.serial, sizeof(config.serial), "%s", disk->option->serial);
    int ret = machine_add_behind(function, label, &virtio_blk_ops, &config, MACHINE_NO_OUTPUT, out);
    disk->dev = *out;
    return ret ? ret : ringd_watch(disk->machine->vm->ringd, block_fd(disk->block), on_done, disk);
}

int machine_disk_close(struct machine_disk *disk)
{
    if (disk->dev)
        while (machine_disk_drain(disk))
            ;
    int ret = block_close(disk->block);
    if (ret)
        fprintf(stderr, "ringvmm: --disk %s: what was written last may not be on the disk: %s\n", disk->option->file,
                strerror(-ret));
    for (unsigned i = 0; i < VIRTIO_QUEUE_SIZE_MAX; i++)
        free(disk->slots[i].iov);
    free(disk);
    return ret;
}
