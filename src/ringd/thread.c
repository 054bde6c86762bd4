/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring thread: one libev loop that watches the armed rings' fds, one timerfd for looks and device timers, and one
 * ev_async for requests from other threads.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/signals.h"
#include "ringd/internal.h"
#include "ringd/slice.h"

static void warn(struct ringd *rd, const char *line)
{
    if (rd->config.warn)
        rd->config.warn(rd->config.warn_ctx, line);
    else
        fprintf(stderr, "%s\n", line);
}

static void on_ring(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    serve_woken(io->data);
}

static void on_timer(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    serve_timer(io->data);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *prepare, int events)
{
    (void)loop;
    (void)events;
    serve_arm_timer(prepare->data);
}

static void on_check(struct ev_loop *loop, ev_check *check, int events)
{
    (void)loop;
    (void)events;
    struct ringd *rd = check->data;
    count_relaxed(&rd->polls, 1);
}

static bool thread_watch(struct ring *ring)
{
    ev_io_init(&ring->io, on_ring, ring->back.fd, EV_READ);
    ring->io.data = ring;
    ev_io_start(ring->rd->loop, &ring->io);
    return true;
}

/* libev leaves the fd in its epoll set until it reports once more, so this may cost one more wake-up. */
static void thread_unwatch(struct ring *ring)
{
    ev_io_stop(ring->rd->loop, &ring->io);
}

static void on_watch(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    const struct watch *watch = io->data;
    watch->fn(watch->ctx);
}

static void thread_listen(struct watch *watch, bool on)
{
    if (on) {
        ev_io_init(&watch->io, on_watch, watch->fd, EV_READ);
        watch->io.data = watch;
        ev_io_start(watch->rd->loop, &watch->io);
    } else {
        ev_io_stop(watch->rd->loop, &watch->io);
    }
}

static const struct loop_ops thread_loop = {.watch = thread_watch, .unwatch = thread_unwatch, .listen = thread_listen};

/* Stands still while asked to. Returns whether the thread is to end. */
static bool stand_still(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    while (rd->park && !rd->stop) {
        rd->parked = true;
        pthread_cond_broadcast(&rd->request_cond);
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    }
    rd->parked = false;
    bool stop = rd->stop;
    pthread_mutex_unlock(&rd->request_lock);
    return stop;
}

static void on_wake(struct ev_loop *loop, ev_async *wake, int events)
{
    (void)events;
    struct ringd *rd = wake->data;
    if (stand_still(rd))
        ev_break(loop, EVBREAK_ALL);
    serve_adopt(rd);
}

static void apply_realtime(struct ringd *rd)
{
    char line[160];
    if (rd->config.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((unsigned)rd->config.cpu, &set);
        int error = pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
        if (error) {
            snprintf(line, sizeof(line), "the ring thread cannot be pinned to CPU %d: %s; it runs on any CPU",
                     rd->config.cpu, strerror(error));
            warn(rd, line);
        }
    }
    thread_shorten_slice();
    if (rd->config.priority > 0) {
        struct sched_param param = {.sched_priority = rd->config.priority};
        int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
        if (error) {
            snprintf(line, sizeof(line),
                     "the ring thread cannot have real-time priority %d: %s; it runs at ordinary priority (raise "
                     "RLIMIT_RTPRIO or grant CAP_SYS_NICE)",
                     rd->config.priority, strerror(error));
            warn(rd, line);
        }
    }
}

static void say_ready(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->ready = true;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
}

static void *ring_thread(void *arg)
{
    struct ringd *rd = arg;
    pthread_setname_np(pthread_self(), "ring");
    apply_realtime(rd);
    if (!stand_still(rd)) { /* it may have been paused before it was started */
        serve_adopt(rd);
        say_ready(rd);
        ev_run(rd->loop, 0);
    }
    serve_release(rd); /* a later ringd_start() adopts them anew */
    return NULL;
}

/* The libev loop of the thread; it stays for a later ringd_start(). */
static int make_loop(struct ringd *rd)
{
    if (rd->loop)
        return 0;
    rd->loop = ev_loop_new(EVFLAG_NOENV);
    if (!rd->loop)
        return -ENOMEM;
    ev_io_init(&rd->timer_io, on_timer, rd->timerfd, EV_READ);
    ev_prepare_init(&rd->prepare, on_prepare);
    ev_check_init(&rd->check, on_check);
    ev_async_init(&rd->wake, on_wake);
    rd->timer_io.data = rd->prepare.data = rd->check.data = rd->wake.data = rd;
    ev_io_start(rd->loop, &rd->timer_io);
    ev_prepare_start(rd->loop, &rd->prepare);
    ev_check_start(rd->loop, &rd->check);
    ev_async_start(rd->loop, &rd->wake);
    return 0;
}

void thread_destroy(struct ringd *rd)
{
    if (rd->loop)
        ev_loop_destroy(rd->loop);
}

int ringd_start(struct ringd *rd)
{
    if (rd->running)
        return 0;
    if (rd->poll_fd >= 0)
        return -EBUSY;
    int ret = make_loop(rd);
    if (ret)
        return ret;
    rd->loop_ops = &thread_loop;
    rd->stop = rd->ready = false;
    /* Signals are the owner's: none may be delivered here. */
    sigset_t mask, before;
    signals_of_others(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    int error = pthread_create(&rd->thread, NULL, ring_thread, rd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rd->running = error == 0;
    /* A thread that has not had the CPU yet would not keep the bound of what is written from here on. */
    pthread_mutex_lock(&rd->request_lock);
    while (rd->running && !rd->ready && !rd->parked)
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
    pthread_mutex_unlock(&rd->request_lock);
    return -error;
}

void thread_stop(struct ringd *rd)
{
    pthread_mutex_lock(&rd->request_lock);
    rd->stop = true;
    pthread_cond_broadcast(&rd->request_cond);
    pthread_mutex_unlock(&rd->request_lock);
    ev_async_send(rd->loop, &rd->wake);
    pthread_join(rd->thread, NULL);
    rd->running = false;
}

void thread_park(struct ringd *rd)
{
    ev_async_send(rd->loop, &rd->wake);
    while (!rd->parked)
        pthread_cond_wait(&rd->request_cond, &rd->request_lock);
}

void thread_unpark(struct ringd *rd)
{
    pthread_cond_broadcast(&rd->request_cond);
    /* Started while paused, it has not parked: its timers must be armed all the same. */
    ev_async_send(rd->loop, &rd->wake);
}

uint64_t ringd_thread_wakeups(struct ringd *rd)
{
    return load_relaxed(&rd->polls);
}
