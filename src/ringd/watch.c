/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loop does for the embedder beside the rings: descriptors that it watches, and a call after each replay. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ringd/internal.h"

/* The loop does not run, or stands still: the list is the caller's until it goes on. */
static struct watch **find(struct ringd *rd, int fd)
{
    struct watch **at = &rd->watches;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

/* The ring thread's libev would abort over one that it cannot watch. */
static int can_be_watched(int fd)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    int ret = set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
    if (set >= 0)
        close(set);
    return ret;
}

int ringd_watch(struct ringd *rd, int fd, void (*fn)(void *ctx), void *ctx)
{
    if (ringd_loop_may_run(rd))
        return -EBUSY;
    if (*find(rd, fd))
        return -EEXIST;
    int ret = can_be_watched(fd);
    if (ret)
        return ret;
    struct watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    *watch = (struct watch){.rd = rd, .fd = fd, .fn = fn, .ctx = ctx, .next = rd->watches};
    ret = rd->poll_fd >= 0 ? dispatch_add(watch) : 0;
    if (ret) {
        free(watch);
        return ret;
    }
    rd->watches = watch;
    return 0;
}

int ringd_unwatch(struct ringd *rd, int fd)
{
    struct watch **at = find(rd, fd), *watch = *at;
    if (ringd_loop_may_run(rd))
        return -EBUSY;
    if (!watch)
        return -ENOENT;
    if (watch->on)
        rd->loop_ops->listen(watch, false);
    if (rd->poll_fd >= 0)
        dispatch_remove(watch);
    *at = watch->next;
    free(watch);
    return 0;
}

int ringd_after(struct ringd *rd, void (*fn)(void *ctx), void *ctx)
{
    if (ringd_loop_may_run(rd))
        return -EBUSY;
    rd->after = fn;
    rd->after_ctx = ctx;
    return 0;
}

void watch_destroy(struct ringd *rd)
{
    while (rd->watches) {
        struct watch *watch = rd->watches;
        rd->watches = watch->next;
        free(watch);
    }
}
