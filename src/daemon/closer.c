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

/* Enough for three system calls: they handle no signal. */
#define STACK_BYTES (64u * 1024u)

/* Batches that wait for a thread, and those who take them. */
struct lane {
    struct closer *closer;         /* constant */
    pthread_cond_t cond;           /* there is something to do */
    struct closing *first, **last; /* under the closer's lock: to be closed */
};

struct closer {
    int fd; /* constant: an eventfd, written by the threads, read by the loop */
    pthread_mutex_t lock;
    pthread_cond_t started;
    struct lane clients, refused;
    struct closing *done; /* under `lock`: closed */
    unsigned ready;       /* under `lock`: threads that make no more calls than close, futex and write */
};

/* The lock is held. */
static struct closing *take_first(struct lane *lane)
{
    while (!lane->first)
        pthread_cond_wait(&lane->cond, &lane->closer->lock);
    struct closing *batch = lane->first;
    lane->first = batch->next;
    if (!lane->first)
        lane->last = &lane->first;
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
    struct lane *lane = arg;
    struct closer *closer = lane->closer;
    uint64_t one = 1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* a build without the filter does not hand it on */
    pthread_mutex_lock(&closer->lock);
    closer->ready++;
    pthread_cond_signal(&closer->started);
    for (;;) {
        struct closing *batch = take_first(lane);
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
static int start_threads(struct closer *closer, unsigned clients)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int error = pthread_attr_init(&attr);
    if (!error)
        error = pthread_attr_setstacksize(&attr, STACK_BYTES);
    if (!error)
        error = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; !error && i <= clients; i++) {
        pthread_t thread;
        error = pthread_create(&thread, &attr, close_for_ever, i < clients ? &closer->clients : &closer->refused);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return -error;
    pthread_attr_destroy(&attr);
    pthread_mutex_lock(&closer->lock);
    while (closer->ready <= clients)
        pthread_cond_wait(&closer->started, &closer->lock);
    pthread_mutex_unlock(&closer->lock);
    return 0;
}

static void lane_init(struct lane *lane, struct closer *closer)
{
    lane->closer = closer;
    lane->last = &lane->first;
    pthread_cond_init(&lane->cond, NULL);
}

/* What has been started stays, even if not all could be: the caller ends then. */
int closer_start(unsigned clients, struct closer **out)
{
    struct closer *closer = calloc(1, sizeof(*closer));
    if (!closer)
        return -ENOMEM;
    pthread_mutex_init(&closer->lock, NULL);
    pthread_cond_init(&closer->started, NULL);
    lane_init(&closer->clients, closer);
    lane_init(&closer->refused, closer);
    closer->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (closer->fd < 0) {
        int error = errno;
        free(closer);
        return -error;
    }
    *out = closer;
    return start_threads(closer, clients);
}

int closer_fd(const struct closer *closer)
{
    return closer->fd;
}

void closer_submit(struct closer *closer, struct closing *batch)
{
    struct lane *lane = batch->refused ? &closer->refused : &closer->clients;
    batch->next = NULL;
    pthread_mutex_lock(&closer->lock);
    *lane->last = batch;
    lane->last = &batch->next;
    pthread_cond_signal(&lane->cond);
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
