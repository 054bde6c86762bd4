/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests carried out by io_uring. The submission queue belongs to whoever has set block->driving, the completion
 * queue to the thread that reaps; the two sides of a ring share nothing but what the kernel does.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/block_internal.h"

/* A piece that goes without a vector has its length in 32 bits. More is continued. */
#define PIECE_MAX (1u << 30)

struct block_uring {
    struct io_uring ring;
    /* Requests that have a submission entry which the kernel has not taken yet, in order. The driver's. Once taken a
     * request may be finished and gone at any moment: only the pointer is looked at. */
    struct block_request *prepared[BLOCK_RING_DEPTH];
    unsigned prepared_count;
};

/* ---- submission ---- */

static void prepare(struct block *block, struct block_request *request)
{
    struct block_uring *uring = block->uring;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring); /* there is one: as many as in_ring may be */
    const struct iovec *iov;
    uint64_t offset = request->offset + request->at;

    if (request->op == BLOCK_FLUSH) {
        io_uring_prep_fsync(sqe, block->fd, IORING_FSYNC_DATASYNC);
    } else {
        unsigned count = block_pieces(request, &iov);
        unsigned length = iov->iov_len < PIECE_MAX ? (unsigned)iov->iov_len : PIECE_MAX;
        if (request->op == BLOCK_READ && count == 1)
            io_uring_prep_read(sqe, block->fd, iov->iov_base, length, offset);
        else if (request->op == BLOCK_READ)
            io_uring_prep_readv(sqe, block->fd, iov, count, offset);
        else if (count == 1)
            io_uring_prep_write(sqe, block->fd, iov->iov_base, length, offset);
        else
            io_uring_prep_writev(sqe, block->fd, iov, count, offset);
    }
    io_uring_sqe_set_data(sqe, request);
    uring->prepared[uring->prepared_count++] = request;
}

/* io_uring has been forbidden since the disk was opened: what it has not taken, and all that comes, goes to the pool.
 * What it has taken it completes. */
static void fall_back(struct block *block)
{
    struct block_uring *uring = block->uring;

    pthread_mutex_lock(&block->lock);
    block->ring_broken = true;
    for (unsigned i = 0; i < uring->prepared_count; i++) {
        block_list_add(&block->pool, uring->prepared[i]);
        block->in_ring--;
        block->stats.fell_back++;
    }
    for (struct block_request *request; (request = block_list_take(&block->ring));) {
        block_list_add(&block->pool, request);
        block->stats.fell_back++;
    }
    pthread_cond_broadcast(&block->pool_cond);
    pthread_mutex_unlock(&block->lock);
    uring->prepared_count = 0;
}

/* Hands what is prepared to the kernel. False: it has to be tried again later. */
static bool enter(struct block *block)
{
    struct block_uring *uring = block->uring;

    while (uring->prepared_count) {
        int taken = io_uring_submit(&uring->ring);
        if (taken == -EINTR)
            continue;
        if (taken == 0 || taken == -EAGAIN || taken == -EBUSY || taken == -ENOMEM)
            return false;
        if (taken < 0) {
            fall_back(block);
            return true;
        }
        uring->prepared_count -= (unsigned)taken;
        for (unsigned i = 0; i < uring->prepared_count; i++)
            uring->prepared[i] = uring->prepared[i + (unsigned)taken];
    }
    return true;
}

void block_uring_start(struct block *block)
{
    struct block_uring *uring = block->uring;
    bool taken = true, kick = false;

    pthread_mutex_lock(&block->lock);
    if (block->driving) {
        pthread_mutex_unlock(&block->lock);
        return;
    }
    block->driving = true;
    while (taken && (uring->prepared_count || (block->ring.first && block->in_ring < BLOCK_RING_DEPTH))) {
        struct block_list batch = {0};
        while (block->ring.first && block->in_ring < BLOCK_RING_DEPTH) {
            block_list_add(&batch, block_list_take(&block->ring));
            block->in_ring++;
        }
        pthread_mutex_unlock(&block->lock);
        for (struct block_request *request; (request = block_list_take(&batch));)
            prepare(block, request);
        taken = enter(block);
        pthread_mutex_lock(&block->lock);
    }
    block->driving = false;
    if (!taken) /* the kernel lacks memory at the moment: come back for it */
        kick = block_wants_kick(block);
    pthread_mutex_unlock(&block->lock);
    if (kick)
        block_kick(block);
}

/* ---- completion ---- */

void block_uring_reap(struct block *block)
{
    struct io_uring *ring = &block->uring->ring;
    struct io_uring_cqe *cqe;
    struct block_list again = {0}, finished = {0};
    unsigned seen = 0;

    /* At most one ring full: under a steady stream the caller's loop has other things to do. */
    while (seen < BLOCK_RING_DEPTH && io_uring_peek_cqe(ring, &cqe) == 0) {
        struct block_request *request = io_uring_cqe_get_data(cqe);
        int returned = cqe->res;
        io_uring_cqe_seen(ring, cqe);
        seen++;
        block_list_add(block_advance(request, returned) ? &finished : &again, request);
    }

    pthread_mutex_lock(&block->lock);
    block->in_ring -= seen;
    for (struct block_request *request; (request = block_list_take(&finished));)
        block_finish(block, request); /* block_reap() looks at the list next: no kick */
    while (again.first) {
        block->stats.continued++;
        block_list_add(block->ring_broken ? &block->pool : &block->ring, block_list_take(&again));
        pthread_cond_signal(&block->pool_cond);
    }
    pthread_mutex_unlock(&block->lock);
    block_uring_start(block);
    if (seen == BLOCK_RING_DEPTH)
        block_kick(block); /* there may be more, whose signals have been read */
}

/* ---- opening ---- */

static bool operations_are_there(struct io_uring *ring)
{
    static const int wanted[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC};
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool all = probe != NULL;

    for (unsigned i = 0; all && i < sizeof(wanted) / sizeof(wanted[0]); i++)
        all = io_uring_opcode_supported(probe, wanted[i]);
    io_uring_free_probe(probe);
    return all;
}

/* Something goes in, comes out, and is signalled: a filter of system calls may allow the ring and forbid its use. */
static int try_ring(struct block *block)
{
    struct io_uring *ring = &block->uring->ring;
    struct io_uring_cqe *cqe;
    uint64_t events;
    int ret;

    io_uring_prep_nop(io_uring_get_sqe(ring));
    do
        ret = io_uring_submit(ring);
    while (ret == -EINTR || ret == -EAGAIN);
    if (ret < 0)
        return ret;
    do
        ret = io_uring_wait_cqe(ring, &cqe);
    while (ret == -EINTR || ret == -EAGAIN);
    if (ret < 0)
        return ret;
    io_uring_cqe_seen(ring, cqe);
    return read(block->event_fd, &events, sizeof(events)) < 0 ? -errno : 0;
}

int block_uring_open(struct block *block)
{
    struct block_uring *uring = calloc(1, sizeof(*uring));
    int err;

    if (!uring)
        return -ENOMEM;
    /* Completions wait for the next time that the thread is in the kernel, instead of interrupting it: Linux 5.19. */
    err = io_uring_queue_init(BLOCK_RING_DEPTH, &uring->ring, IORING_SETUP_COOP_TASKRUN);
    if (err == -EINVAL)
        err = io_uring_queue_init(BLOCK_RING_DEPTH, &uring->ring, 0);
    if (err < 0) {
        free(uring);
        return err;
    }
    block->uring = uring;
    /* Without these a vector must outlive its submission, or a completion may be lost: Linux before 5.5. */
    if (!(uring->ring.features & IORING_FEAT_SUBMIT_STABLE) || !(uring->ring.features & IORING_FEAT_NODROP) ||
        !operations_are_there(&uring->ring))
        err = -ENOSYS;
    if (!err)
        err = io_uring_register_eventfd(&uring->ring, block->event_fd);
    if (!err)
        err = try_ring(block);
    if (err)
        block_uring_close(block);
    return err;
}

void block_uring_close(struct block *block)
{
    io_uring_queue_exit(&block->uring->ring);
    free(block->uring);
    block->uring = NULL;
}
