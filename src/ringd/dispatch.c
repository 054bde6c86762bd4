/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The caller's own loop in place of the ring thread: an epoll set of the armed rings' fds and the timerfd, which the
 * caller watches as one fd, and one function that serves what is ready in it.
 *
 * `dispatching` stands for the thread: whoever makes the loop stand still waits until no call is under way, and from
 * then on calls find `park` and do nothing. Meanwhile the set is empty of what could be ready, so that the caller's
 * loop, which watches it, sleeps too.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "ringd/internal.h"

/* Rings served by one call; the kernel hands out those that are ready by turns. */
#define DISPATCH_RINGS 16

static bool dispatch_watch(struct ring *ring)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = ring};
    return epoll_ctl(ring->rd->poll_fd, EPOLL_CTL_ADD, ring->back.fd, &event) == 0;
}

/* Taken out, not masked: an fd in the set costs KVM a call for each write. */
static void dispatch_unwatch(struct ring *ring)
{
    (void)epoll_ctl(ring->rd->poll_fd, EPOLL_CTL_DEL, ring->back.fd, NULL);
}

/* In the set for good, as the timerfd is, so that a change needs no memory. */
static void dispatch_listen(struct watch *watch, bool on)
{
    struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = watch};
    (void)epoll_ctl(watch->rd->poll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

int dispatch_add(struct watch *watch)
{
    struct epoll_event event = {.events = 0, .data.ptr = watch};
    return epoll_ctl(watch->rd->poll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

void dispatch_remove(struct watch *watch)
{
    (void)epoll_ctl(watch->rd->poll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
}

static const struct loop_ops dispatch_loop = {
    .watch = dispatch_watch, .unwatch = dispatch_unwatch, .listen = dispatch_listen};

/* The timerfd is in the set for good, so that a change needs no memory. */
static void watch_timer(struct ringd *rd, bool on)
{
    struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = rd};
    (void)epoll_ctl(rd->poll_fd, EPOLL_CTL_MOD, rd->timerfd, &event);
}

/* request_lock held, no call under way. */
static void go(struct ringd *rd)
{
    serve_watch_again(rd);
    serve_adopt(rd);
    watch_timer(rd, true);
    serve_arm_timer(rd);
}

/* request_lock held; given up while it waits. A thread that calls ringd_dispatch() again and again would else be inside
 * each time that we have woken up. */
static void wait_for_call(struct ringd *rd)
{
    rd->waiting++;
    while (rd->dispatching)
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    rd->waiting--;
}

int ringd_poll_fd(struct ringd *rd)
{
    if (rd->running)
        return -EBUSY;
    if (rd->poll_fd >= 0)
        return rd->poll_fd;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct epoll_event event = {.events = 0, .data.ptr = rd};
    int ret = epoll_ctl(fd, EPOLL_CTL_ADD, rd->timerfd, &event) < 0 ? -errno : 0;
    pthread_mutex_lock(&rd->request_lock);
    rd->poll_fd = fd;
    for (struct watch *watch = rd->watches; watch && !ret; watch = watch->next)
        ret = dispatch_add(watch);
    if (ret) {
        rd->poll_fd = -1;
        pthread_mutex_unlock(&rd->request_lock);
        close(fd);
        return ret;
    }
    rd->loop_ops = &dispatch_loop;
    if (!rd->park)
        go(rd);
    pthread_mutex_unlock(&rd->request_lock);
    return fd;
}

/* 1: go on, and leave() afterwards; else what ringd_dispatch() returns. */
static int enter(struct ringd *rd)
{
    int ret = 1;
    pthread_mutex_lock(&rd->request_lock);
    if (rd->poll_fd < 0)
        ret = -EINVAL;
    else if (rd->dispatching)
        ret = -EBUSY;
    else if (rd->park || rd->waiting)
        ret = 0;
    else
        rd->dispatching = true;
    pthread_mutex_unlock(&rd->request_lock);
    return ret;
}

static void leave(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->dispatching = false;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
}

/* What stands in the set belongs to a ring, or to the embedder, whose descriptors are few. */
static void serve_ready(struct ringd *rd, void *what)
{
    struct watch *watch = rd->watches;
    while (watch && watch != what)
        watch = watch->next;
    if (watch)
        watch->fn(watch->ctx);
    else
        serve_woken(what);
}

int ringd_dispatch(struct ringd *rd)
{
    int ret = enter(rd);
    if (ret <= 0)
        return ret;
    struct epoll_event ready[DISPATCH_RINGS + 1];
    int count = epoll_wait(rd->poll_fd, ready, DISPATCH_RINGS + 1, 0);
    int error = count < 0 && errno != EINTR ? -errno : 0;
    bool timer = false;
    unsigned served = 0;
    count_relaxed(&rd->polls, 1);
    for (int i = 0; i < count; i++) {
        if (ready[i].data.ptr == rd) {
            timer = true;
        } else {
            serve_ready(rd, ready[i].data.ptr);
            served++;
        }
    }
    if (timer)
        served += serve_timer(rd);
    serve_arm_timer(rd);
    leave(rd);
    return error ? error : (int)served;
}

void dispatch_park(struct ringd *rd)
{
    wait_for_call(rd);
    serve_unwatch_all(rd);
    watch_timer(rd, false);
}

void dispatch_unpark(struct ringd *rd)
{
    go(rd);
}

void dispatch_stop(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    wait_for_call(rd);
    serve_release(rd);
    close(rd->poll_fd);
    rd->poll_fd = -1;
    pthread_mutex_unlock(&rd->request_lock);
}
