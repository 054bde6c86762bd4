/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests carried out by threads, one system call after the other: the engine where io_uring is not to be had, and
 * what io_uring has no operation for. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/signals.h"
#include "vmm/block_internal.h"

/* A thread's stack: system calls and no more. The default's 8 MiB would be locked into memory where all memory is. */
#define STACK_BYTES (256u * 1024u)
/* Zeroes that are written where the host has no better way, at a time. */
#define ZERO_BYTES (64u * 1024u)

static int transfer(const struct block *block, struct block_request *request)
{
    ssize_t returned;

    do {
        const struct iovec *iov;
        int count = (int)block_pieces(request, &iov);
        off_t offset = (off_t)(request->offset + request->at);
        returned =
            request->op == BLOCK_READ ? preadv(block->fd, iov, count, offset) : pwritev(block->fd, iov, count, offset);
        if (returned < 0)
            returned = -errno;
    } while (!block_advance(request, returned));
    return request->result;
}

static int flush(const struct block *block)
{
    while (fdatasync(block->fd) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* 0 or -errno. */
static int range_ioctl(const struct block *block, const struct block_request *request, unsigned long command)
{
    uint64_t range[2] = {request->offset, request->bytes};

    while (ioctl(block->fd, command, range) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int range_fallocate(const struct block *block, const struct block_request *request, int mode)
{
    while (fallocate(block->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)request->offset, (off_t)request->bytes) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

static int discard(const struct block *block, const struct block_request *request)
{
    int err =
        block->device ? range_ioctl(block, request, BLKDISCARD) : range_fallocate(block, request, FALLOC_FL_PUNCH_HOLE);
    /* A discard is a wish: a host that finds the range too small or ill-aligned keeps it. */
    return err == -EOPNOTSUPP || err == -EINVAL ? 0 : err;
}

static int write_zeroes_by_hand(const struct block *block, struct block_request *request)
{
    static const uint8_t zeroes[ZERO_BYTES];

    while (request->at < request->bytes) {
        uint64_t left = request->bytes - request->at;
        ssize_t written = pwrite(block->fd, zeroes, left < ZERO_BYTES ? (size_t)left : ZERO_BYTES,
                                 (off_t)(request->offset + request->at));
        if (written < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -EIO;
        request->at += (uint64_t)written;
    }
    return 0;
}

static int write_zeroes(const struct block *block, struct block_request *request)
{
    int err = -EOPNOTSUPP;

    /* A hole reads as zeroes. Of a device, the kernel makes one only if that holds there too. */
    if (request->unmap && block->discards)
        err = range_fallocate(block, request, FALLOC_FL_PUNCH_HOLE);
    if (err == -EOPNOTSUPP || err == -EINVAL)
        err = block->device ? range_ioctl(block, request, BLKZEROOUT)
                            : range_fallocate(block, request, FALLOC_FL_ZERO_RANGE);
    if (err == -EOPNOTSUPP || err == -EINVAL || err == -ENOTTY)
        err = write_zeroes_by_hand(block, request);
    return err;
}

static int carry_out(const struct block *block, struct block_request *request)
{
    switch (request->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return transfer(block, request);
    case BLOCK_FLUSH:
        return flush(block);
    case BLOCK_DISCARD:
        return discard(block, request);
    case BLOCK_WRITE_ZEROES:
        return write_zeroes(block, request);
    }
    return -EINVAL;
}

static void *pool_thread(void *argument)
{
    struct block *block = argument;

    pthread_mutex_lock(&block->lock);
    for (;;) {
        struct block_request *request = block_list_take(&block->pool);
        if (!request && block->stop)
            break;
        if (!request) {
            pthread_cond_wait(&block->pool_cond, &block->lock);
            continue;
        }
        pthread_mutex_unlock(&block->lock);
        request->result = carry_out(block, request);
        pthread_mutex_lock(&block->lock);
        block_finish(block, request);
        if (block_wants_kick(block)) {
            pthread_mutex_unlock(&block->lock);
            block_kick(block);
            pthread_mutex_lock(&block->lock);
        }
    }
    pthread_mutex_unlock(&block->lock);
    return NULL;
}

int block_threads_start(struct block *block, unsigned count)
{
    pthread_attr_t attributes;
    sigset_t mask, before;
    int err = 0;

    pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are the main thread's. */
    signals_of_others(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    while (block->thread_count < count && !err) {
        err = pthread_create(&block->threads[block->thread_count], &attributes, pool_thread, block);
        if (!err)
            pthread_setname_np(block->threads[block->thread_count++], "block");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -err;
}

void block_threads_stop(struct block *block)
{
    pthread_mutex_lock(&block->lock);
    block->stop = true;
    pthread_cond_broadcast(&block->pool_cond);
    pthread_mutex_unlock(&block->lock);
    while (block->thread_count)
        pthread_join(block->threads[--block->thread_count], NULL);
}
