/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What block.c (requests), block_file.c (opening), block_uring.c and block_threads.c (the two engines) share.
 *
 * The way of a request: `ring` or `pool` list, engine, `finished` list, done(). A disk on io_uring has a thread in its
 * pool as well, for what io_uring has no operation for (BLKDISCARD) or what takes several (zeroes).
 */
#ifndef VMM_BLOCK_INTERNAL_H
#define VMM_BLOCK_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <sys/types.h>

#include "vmm/block.h"

/* Requests in io_uring at a time. A guest's virtqueue has 128 or 256 entries, and a request takes two or more. */
#define BLOCK_RING_DEPTH 128u
/* Threads without io_uring; what a disk of the host works on at a time is seldom more. */
#define BLOCK_POOL_THREADS 4u
/* Linux, include/uapi/linux/uio.h: UIO_MAXIOV, in one preadv() or pwritev() */
#define BLOCK_IOV_MAX 1024u

struct block_list {
    struct block_request *first, *last;
};

struct block_uring;

struct block {
    /* Set at open, read by any thread. */
    int fd;
    int event_fd;
    uint64_t bytes;
    uint32_t sector_bytes;
    bool readonly;
    bool device; /* a block device of the host */
    bool discards;
    const char *engine;
    struct block_uring *uring; /* NULL: threads only */
    pthread_t threads[BLOCK_POOL_THREADS];
    unsigned thread_count;

    pthread_mutex_t lock;   /* for what follows; innermost, never held across a system call but a futex's */
    struct block_list ring; /* wait for room in io_uring */
    struct block_list pool; /* wait for a thread */
    struct block_list finished;
    uint64_t under_way; /* submitted, and done() has not returned */
    bool kicked;        /* event_fd has been written for block_reap(), which has not come yet */
    bool driving;       /* somebody fills io_uring's submission queue, and looks at `ring` again before it ends */
    bool ring_broken;   /* io_uring refuses: all goes to the pool */
    unsigned in_ring;   /* requests taken from `ring` whose completion has not been seen; at most the depth */
    bool reaped;        /* `reaper` is set */
    pthread_t reaper;   /* who called block_reap() last. A hint: `driving` keeps two threads apart */
    bool wrote;         /* something was submitted that has to be made lasting */
    bool stop;          /* the pool's threads are to end */
    pthread_cond_t pool_cond;
    struct block_stats stats;
};

static inline void block_list_add(struct block_list *list, struct block_request *request)
{
    request->next = NULL;
    if (list->first)
        list->last->next = request;
    else
        list->first = request;
    list->last = request;
}

static inline struct block_request *block_list_take(struct block_list *list)
{
    struct block_request *request = list->first;
    if (request)
        list->first = request->next;
    return request;
}

/* ---- block.c ---- */

/* The pieces that a READ or WRITE has to do next: returns how many, at least 1 and at most BLOCK_IOV_MAX. */
unsigned block_pieces(struct block_request *request, const struct iovec **iov);
/* Takes in what the system call for them returned, a count or -errno. True: the request is finished, and its result
 * set. False: it is to be entered again. */
bool block_advance(struct block_request *request, ssize_t returned);
/* Under the lock: the request is for block_reap() to tell, who has to be kicked unless it is at work. */
void block_finish(struct block *block, struct block_request *request);
/* Under the lock: whether the caller has to kick, once it has let go of the lock. Somebody else may be about to. */
bool block_wants_kick(struct block *block);
/* Makes event_fd readable. No lock is needed. */
void block_kick(struct block *block);

/* ---- block_file.c ---- */

/* Opens, locks and measures. On failure fills `error`, leaves block->fd for the caller to close (-1: none). */
int block_file_open(struct block *block, const struct block_config *config, char *error, size_t error_bytes);

/* ---- block_threads.c ---- */

/* Starts `count` threads. 0 or -errno; those that run are counted in thread_count either way. */
int block_threads_start(struct block *block, unsigned count);
void block_threads_stop(struct block *block); /* when nothing is under way */

/* ---- block_uring.c ---- */

#ifdef HAVE_LIBURING
/* Makes a ring and tries it. 0, or -errno: it cannot be used here, and block->uring is NULL. */
int block_uring_open(struct block *block);
void block_uring_close(struct block *block); /* when nothing is under way */
/* Enters what waits in `ring`, as far as there is room. No lock held; returns at once when another thread does it. */
void block_uring_start(struct block *block);
/* Takes completions, and starts what waits. The reaping thread. */
void block_uring_reap(struct block *block);
#else
static inline int block_uring_open(struct block *block)
{
    (void)block;
    return -ENOTSUP;
}
static inline void block_uring_close(struct block *block)
{
    (void)block;
}
static inline void block_uring_start(struct block *block)
{
    (void)block;
}
static inline void block_uring_reap(struct block *block)
{
    (void)block;
}
#endif

#endif
