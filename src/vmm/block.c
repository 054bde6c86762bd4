/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/block.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/block_internal.h"
#include "vmm/parse.h"

/* ---- a request's progress ---- */

static void skip_empty_pieces(struct block_request *request)
{
    while (request->iov_at < request->iov_count && request->iov[request->iov_at].iov_len == 0)
        request->iov_at++;
}

unsigned block_pieces(struct block_request *request, const struct iovec **iov)
{
    const struct iovec *next = &request->iov[request->iov_at];
    unsigned left = request->iov_count - request->iov_at;

    if (request->iov_skip) { /* the rest of an entry goes alone: the vector is the caller's, and not to be changed */
        request->part.iov_base = (char *)next->iov_base + request->iov_skip;
        request->part.iov_len = next->iov_len - request->iov_skip;
        *iov = &request->part;
        return 1;
    }
    *iov = next;
    return left < BLOCK_IOV_MAX ? left : BLOCK_IOV_MAX;
}

bool block_advance(struct block_request *request, ssize_t returned)
{
    /* ECANCELED: the thread that entered it has ended. Nobody cancels anything here. */
    if (returned == -EINTR || returned == -EAGAIN || returned == -ECANCELED)
        return false;
    if (returned < 0 || request->op == BLOCK_FLUSH) {
        request->result = (int)returned;
        return true;
    }
    if (returned == 0) { /* the file ends before the disk does */
        request->result = -EIO;
        return true;
    }
    request->at += (uint64_t)returned;
    for (size_t step = (size_t)returned; step;) {
        size_t left = request->iov[request->iov_at].iov_len - request->iov_skip;
        if (step < left) {
            request->iov_skip += step;
            break;
        }
        step -= left;
        request->iov_skip = 0;
        request->iov_at++;
    }
    if (!request->iov_skip)
        skip_empty_pieces(request);
    request->result = 0;
    return request->at == request->bytes;
}

void block_finish(struct block *block, struct block_request *request)
{
    block_list_add(&block->finished, request);
    if (request->result)
        block->stats.failed++;
}

bool block_wants_kick(struct block *block)
{
    bool kick = !block->kicked;

    block->kicked = true;
    return kick;
}

void block_kick(struct block *block)
{
    const uint64_t one = 1;
    ssize_t written = write(block->event_fd, &one, sizeof(one));

    /* Only a full counter is refused, and that is readable all the same. */
    assert(written == (ssize_t)sizeof(one) || errno == EAGAIN);
    (void)written;
}

/* ---- submission ---- */

/* 0: to be carried out. Else it is finished already: 1 for success, or -errno. */
static int check_request(const struct block *block, const struct block_request *request)
{
    uint64_t sum = 0;

    switch (request->op) {
    case BLOCK_FLUSH:
        return block->readonly ? 1 : 0;
    case BLOCK_READ:
        break;
    case BLOCK_DISCARD:
        if (!block->readonly && !block->discards)
            return -EOPNOTSUPP;
        __attribute__((fallthrough));
    case BLOCK_WRITE:
    case BLOCK_WRITE_ZEROES:
        if (block->readonly)
            return -EROFS;
        break;
    default:
        return -EINVAL;
    }
    if (request->offset % block->sector_bytes || request->bytes % block->sector_bytes)
        return -EINVAL;
    if (request->offset > block->bytes || request->bytes > block->bytes - request->offset)
        return -EINVAL;
    if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
        for (unsigned i = 0; i < request->iov_count; i++) {
            if (request->iov[i].iov_len > request->bytes - sum)
                return -EINVAL;
            sum += request->iov[i].iov_len;
        }
        if (sum != request->bytes)
            return -EINVAL;
    }
    return request->bytes ? 0 : 1;
}

static bool goes_to_ring(const struct block *block, const struct block_request *request)
{
    return block->uring && !block->ring_broken &&
           (request->op == BLOCK_READ || request->op == BLOCK_WRITE || request->op == BLOCK_FLUSH);
}

bool block_submit_held(struct block *block, struct block_request *first)
{
    struct block_list fresh = {0}, refused = {0};
    uint64_t count = 0;
    bool kick = false, drive = false;

    for (struct block_request *request = first, *next; request; request = next) {
        int verdict = check_request(block, request);
        next = request->next;
        request->at = 0;
        request->iov_at = 0;
        request->iov_skip = 0;
        request->result = verdict < 0 ? verdict : 0;
        if (!verdict && (request->op == BLOCK_READ || request->op == BLOCK_WRITE))
            skip_empty_pieces(request);
        block_list_add(verdict ? &refused : &fresh, request);
        count++;
    }

    pthread_mutex_lock(&block->lock);
    bool ours = block->reaped && pthread_equal(block->reaper, pthread_self());
    block->under_way += count;
    block->stats.requests += count;
    for (struct block_request *request; (request = block_list_take(&refused)); kick = true)
        block_finish(block, request);
    for (struct block_request *request; (request = block_list_take(&fresh));) {
        block->wrote |= request->op != BLOCK_READ && request->op != BLOCK_FLUSH;
        if (goes_to_ring(block, request)) {
            block_list_add(&block->ring, request);
            if (ours) {
                drive = true;
            } else { /* who is driving looks again; otherwise the thread that reaps will drive */
                block->stats.handed++;
                kick |= !block->driving;
            }
        } else {
            block_list_add(&block->pool, request);
            pthread_cond_signal(&block->pool_cond);
        }
    }
    kick = kick && block_wants_kick(block);
    pthread_mutex_unlock(&block->lock);

    if (kick)
        block_kick(block);
    return drive;
}

void block_start(struct block *block)
{
    if (block->uring)
        block_uring_start(block);
}

void block_submit_chain(struct block *block, struct block_request *first)
{
    if (block_submit_held(block, first))
        block_start(block);
}

void block_submit(struct block *block, struct block_request *request)
{
    request->next = NULL;
    block_submit_chain(block, request);
}

/* ---- completion ---- */

int block_fd(const struct block *block)
{
    return block->event_fd;
}

void block_reap(struct block *block)
{
    uint64_t events, told = 0;

    /* Before the look at what there is: what comes later signals anew. */
    if (read(block->event_fd, &events, sizeof(events)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&block->lock);
    block->kicked = false;
    block->reaped = true;
    block->reaper = pthread_self();
    pthread_mutex_unlock(&block->lock);

    if (block->uring)
        block_uring_reap(block);

    pthread_mutex_lock(&block->lock);
    struct block_list finished = block->finished;
    block->finished = (struct block_list){0};
    pthread_mutex_unlock(&block->lock);

    for (struct block_request *request; (request = block_list_take(&finished)); told++)
        request->done(request, request->result);
    if (told) {
        pthread_mutex_lock(&block->lock);
        block->under_way -= told;
        pthread_mutex_unlock(&block->lock);
    }
}

void block_drain(struct block *block)
{
    struct pollfd events = {.fd = block->event_fd, .events = POLLIN};

    for (;;) {
        block_reap(block);
        pthread_mutex_lock(&block->lock);
        bool idle = block->under_way == 0;
        pthread_mutex_unlock(&block->lock);
        if (idle)
            return;
        (void)poll(&events, 1, -1);
    }
}

/* ---- opening and closing ---- */

static void release(struct block *block)
{
    if (block->uring)
        block_uring_close(block);
    block_threads_stop(block);
    if (block->event_fd >= 0)
        (void)close(block->event_fd);
    if (block->fd >= 0)
        (void)close(block->fd);
    pthread_cond_destroy(&block->pool_cond);
    pthread_mutex_destroy(&block->lock);
    free(block);
}

static int start_engine(struct block *block, const struct block_config *config, char *error, size_t error_bytes)
{
    char quoted[160];
    int err = -ENOTSUP;

    if (config->aio != BLOCK_AIO_THREADS)
        err = block_uring_open(block);
    if (err && config->aio == BLOCK_AIO_URING) {
        (void)snprintf(error, error_bytes,
                       "disk %s: io_uring was asked for, and cannot be used here (%s); allow it, or use threads",
                       parse_quote(config->path, quoted, sizeof(quoted)),
                       err == -ENOTSUP ? "this build is without liburing" : strerror(-err));
        return -ENOTSUP;
    }
    block->engine = err ? "threads" : "io_uring";
    err = block_threads_start(block, err ? BLOCK_POOL_THREADS : 1);
    if (err)
        (void)snprintf(error, error_bytes, "disk %s: its threads cannot be started (%s)",
                       parse_quote(config->path, quoted, sizeof(quoted)), strerror(-err));
    return err;
}

static void init_lock(struct block *block)
{
    pthread_mutexattr_t attributes;

    /* A ring thread of high priority may wait for a vCPU thread that has been preempted in the middle. */
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&block->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_cond_init(&block->pool_cond, NULL);
}

int block_open(const struct block_config *config, struct block **out, char *error, size_t error_bytes)
{
    struct block *block = calloc(1, sizeof(*block));
    int err;

    if (!block) {
        (void)snprintf(error, error_bytes, "no memory for a disk");
        return -ENOMEM;
    }
    block->fd = -1;
    init_lock(block);
    block->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (block->event_fd < 0) {
        err = -errno;
        (void)snprintf(error, error_bytes, "no eventfd for a disk (%s)", strerror(-err));
    } else {
        err = block_file_open(block, config, error, error_bytes);
    }
    if (!err)
        err = start_engine(block, config, error, error_bytes);
    if (err) {
        release(block);
        return err;
    }
    *out = block;
    return 0;
}

int block_close(struct block *block)
{
    int err = 0;

    if (!block)
        return 0;
    block_drain(block);
    if (block->wrote && fdatasync(block->fd) < 0)
        err = -errno;
    release(block);
    return err;
}

/* ---- facts ---- */

uint64_t block_bytes(const struct block *block)
{
    return block->bytes;
}

bool block_readonly(const struct block *block)
{
    return block->readonly;
}

bool block_discards(const struct block *block)
{
    return block->discards;
}

uint32_t block_sector_bytes(const struct block *block)
{
    return block->sector_bytes;
}

const char *block_engine(const struct block *block)
{
    return block->engine;
}

void block_stats(struct block *block, struct block_stats *out)
{
    pthread_mutex_lock(&block->lock);
    *out = block->stats;
    pthread_mutex_unlock(&block->lock);
}
