/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ringd/source.h"

/* A memory file of one page may have a huge page behind it (shmem_enabled=always). */
#define HARMLESS_BYTES (4u * 1024u * 1024u)
#define BLOCK_BYTES    512 /* st_blocks, stat(2) */

struct closer {
    int fd; /* constant: an eventfd, written by the thread, read by the loop */
    pthread_mutex_t lock;
    pthread_cond_t cond;           /* there is something to do, or the thread is ready */
    struct closing *first, **last; /* under `lock`: to be closed */
    struct closing *done;          /* under `lock`: closed */
    bool ready;                    /* under `lock`: the thread makes no more calls than close, futex and write */
};

/* The lock is held. */
static struct closing *take_first(struct closer *closer)
{
    while (!closer->first)
        pthread_cond_wait(&closer->cond, &closer->lock);
    struct closing *batch = closer->first;
    closer->first = batch->next;
    if (!closer->first)
        closer->last = &closer->first;
    return batch;
}

/*
 * libev leaves a stopped fd in its epoll set until it reports once more, and takes it out then: perhaps while we close
 * it, or for a new one that got its number. The first finds nothing there, the second a generation that is not its own;
 * libev expects both. TSan does not, so it is not told of this close().
 */
static void close_quietly(int fd)
{
    syscall(SYS_close, fd);
}

/* Allocates nothing: an arena of its own would need mprotect(), which the filter has not. */
static void *close_for_ever(void *arg)
{
    struct closer *closer = arg;
    uint64_t one = 1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* a build without the filter does not hand it on */
    pthread_mutex_lock(&closer->lock);
    closer->ready = true;
    pthread_cond_broadcast(&closer->cond);
    for (;;) {
        struct closing *batch = take_first(closer);
        pthread_mutex_unlock(&closer->lock);
        for (unsigned i = 0; i < batch->count; i++)
            close_quietly(batch->fds[i]);
        pthread_mutex_lock(&closer->lock);
        batch->next = closer->done;
        closer->done = batch;
        ssize_t done = write(closer->fd, &one, sizeof(one));
        (void)done;
    }
    return NULL;
}

/* Signals are the loop's: the one that ends a wait of its own must not land here. */
static int start_thread(struct closer *closer)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, close_for_ever, closer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -error;
    pthread_detach(thread);
    pthread_mutex_lock(&closer->lock);
    while (!closer->ready)
        pthread_cond_wait(&closer->cond, &closer->lock);
    pthread_mutex_unlock(&closer->lock);
    return 0;
}

int closer_start(struct closer **out)
{
    struct closer *closer = calloc(1, sizeof(*closer));
    if (!closer)
        return -ENOMEM;
    closer->last = &closer->first;
    pthread_mutex_init(&closer->lock, NULL);
    pthread_cond_init(&closer->cond, NULL);
    closer->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int ret = closer->fd < 0 ? -errno : start_thread(closer);
    if (ret) {
        if (closer->fd >= 0)
            close(closer->fd);
        free(closer);
        return ret;
    }
    *out = closer;
    return 0;
}

int closer_fd(const struct closer *closer)
{
    return closer->fd;
}

void closer_submit(struct closer *closer, struct closing *batch)
{
    batch->next = NULL;
    pthread_mutex_lock(&closer->lock);
    *closer->last = batch;
    closer->last = &batch->next;
    pthread_cond_broadcast(&closer->cond);
    pthread_mutex_unlock(&closer->lock);
}

struct closing *closer_done(struct closer *closer)
{
    uint64_t count;
    ssize_t got = read(closer->fd, &count, sizeof(count));
    (void)got;
    pthread_mutex_lock(&closer->lock);
    struct closing *done = closer->done;
    closer->done = NULL;
    pthread_mutex_unlock(&closer->lock);
    return done;
}

/* What its owner adds to a file that is not sealed, after we have looked, would be ours to free; and fstat() may be
 * asked of memory files only, as a file of FUSE answers it when its server likes. */
bool closer_is_harmless(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    if (seals >= 0)
        return seals & F_SEAL_GROW && fstat(fd, &st) == 0 && st.st_size <= HARMLESS_BYTES &&
               st.st_blocks <= HARMLESS_BYTES / BLOCK_BYTES;
    return source_check_eventfd(fd) == 0;
}
