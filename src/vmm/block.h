/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: a raw image file or a block device of the host, read and written without making anybody wait. Any disk
 * controller's model hands requests in and is told when they are done. See docs/disks.md.
 *
 * Threads. Any thread may submit, also under a device's lock: it never waits for the disk. Results are told on the
 * thread that calls block_reap(), the loop's, or block_drain(). Only one thread at a time may be in block_reap(),
 * block_drain() or block_close(); which one may change.
 *
 * Only the thread that reaps enters io_uring. What another one submits (a vCPU that drained its device's ring) it only
 * puts into a list, and wakes that thread: an io_uring request belongs to the task that entered it, which is
 * interrupted when it completes, and a vCPU would leave KVM_RUN for that. It would also be cancelled by that thread's
 * end.
 *
 * On the thread that reaps, block_submit() is a system call that may copy what the host has in its page cache. Who
 * holds a lock that vCPUs wait for calls block_submit_held(), and block_start() after letting go.
 *
 * Order. Requests under way have none among each other, as on any disk with a queue. A FLUSH makes lasting what was
 * done before it was submitted.
 *
 * The caller ignores SIGXFSZ, for files under a size limit.
 */
#ifndef VMM_BLOCK_H
#define VMM_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct block;

enum block_aio {
    BLOCK_AIO_AUTO,    /* io_uring where it works, else threads */
    BLOCK_AIO_URING,   /* io_uring or an error */
    BLOCK_AIO_THREADS, /* a pool of threads */
};

struct block_config {
    const char *path; /* of a regular file or a block device; needed by block_open() only */
    bool readonly;
    bool discard; /* a discarded range is given back to the host: holes in a file */
    enum block_aio aio;
    uint32_t sector_bytes; /* 512 or 4096: what sizes and offsets are multiples of; 0: 512 */
};

enum block_op {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH, /* no range */
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
};

struct block_request {
    enum block_op op;
    bool unmap;             /* WRITE_ZEROES: the range's space may be given back, if the disk discards */
    uint64_t offset, bytes; /* multiples of the sector */
    /* READ, WRITE: where the bytes are. Any addresses and lengths, that sum up to `bytes`. Vector and memory stay valid
     * until done(). */
    const struct iovec *iov;
    unsigned iov_count;
    /* Told once, from within block_reap() or block_drain(), no lock held. The request is the caller's again: done() may
     * free it, or submit it or others; it may not reap, drain or close. `result`: 0; -EINVAL (outside the disk, not
     * whole sectors, a vector of another length); -EROFS; -EOPNOTSUPP (DISCARD: see block_discards()); -EIO (also: the
     * file has become shorter); -ENOSPC, -EFBIG, -EDQUOT, or whatever else the host says. After an error any part of
     * the range may have been done. */
    void (*done)(struct block_request *request, int result);
    struct block_request *next; /* block_submit_chain()'s; NULL ends it. Then the block's own until done() */

    /* The block's own. Whoever has the request works on it alone; it is passed on under the block's lock. */
    uint64_t at;       /* bytes of the range that are done */
    unsigned iov_at;   /* the entry that is next */
    size_t iov_skip;   /* bytes of it that are done */
    struct iovec part; /* what is left of it */
    int result;
};

/*
 * block_open - opens, locks and measures a disk, and starts its engine.
 * @error: one line about a failure, which names the file and says what to do.
 * A disk that is written is locked against all others, one that is read against those that write: by the kernel, for
 * open files (F_OFD_SETLK), so the lock goes when the process does.
 * Returns 0, or -errno: what open() says; -EBUSY (somebody else has the disk); -EINVAL (neither file nor block device,
 * empty, not a multiple of the sector, no such sector); -EROFS (a device that cannot be written); -ENOTSUP (io_uring
 * was demanded, and is not built in or not allowed); -ENOMEM, -EAGAIN (threads).
 */
int block_open(const struct block_config *config, struct block **out, char *error, size_t error_bytes);

/*
 * block_close - waits as block_drain(), makes what was written lasting, and closes the disk. No other thread may use it
 * any more. NULL is allowed.
 * Returns 0, or -errno of a write-back that failed: the disk may lack what its last FLUSH did not cover.
 */
int block_close(struct block *block);

/* Facts that do not change. Any thread. */
uint64_t block_bytes(const struct block *block);
bool block_readonly(const struct block *block);
bool block_discards(const struct block *block); /* wished for, and the host can: offer it to the guest */
uint32_t block_sector_bytes(const struct block *block);
const char *block_engine(const struct block *block); /* "io_uring" or "threads" */

/* Hands in one request, or several at once, which costs less. Any thread; does not wait for the disk. What exceeds the
 * engine's depth waits in a list, without a bound of its own: whoever owns the requests has one. */
void block_submit(struct block *block, struct block_request *request);
void block_submit_chain(struct block *block, struct block_request *first);

/* As block_submit_chain(), but never does more than put the chain into lists. True: the caller is the thread that
 * reaps, and io_uring has something to enter: block_start(), on that thread with no lock held. block_reap() does it as
 * well. */
bool block_submit_held(struct block *block, struct block_request *first);
void block_start(struct block *block);

/* An eventfd that is readable when block_reap() has something to do. The block's own: do not read it. */
int block_fd(const struct block *block);

/* Tells each finished request's done(), and starts what waits. Does not wait. */
void block_reap(struct block *block);

/* Waits until nothing is under way, and tells each done() as block_reap() does. Requests that done() or another thread
 * submits meanwhile are waited for as well: stop whoever submits first. */
void block_drain(struct block *block);

struct block_stats {
    uint64_t requests;
    uint64_t failed;
    /* All of io_uring: */
    uint64_t continued; /* entered again: done in part, interrupted, or more than IOV_MAX pieces */
    uint64_t handed;    /* submitted by another thread than the one that reaps */
    uint64_t fell_back; /* to threads, when io_uring was forbidden after opening */
};

void block_stats(struct block *block, struct block_stats *out); /* any thread */

#endif
