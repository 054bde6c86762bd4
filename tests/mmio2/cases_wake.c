/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleepers. Each sleeps with a limit, and a wake-up that does not come shows in the time: at its limit poll() looks
 * once more and reports what it then sees, so what it returns is right all the same.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "suite.h"

#define SLEEP_MS  4000 /* how long a sleeper waits at most */
#define PROMPT_MS 1500 /* who took longer was not woken; an emulated machine on a busy host takes a while */

enum how { BY_POLL, BY_EPOLL, BY_EPOLL_EDGE, BY_SELECT, FOR_EVER };

struct sleeper {
    pthread_t thread;
    pid_t tid; /* 0 until the thread runs */
    int fd;
    enum how how;
    int events;   /* what it was told */
    int64_t woke; /* suite_now() */
};

static int sleep_in_epoll(int fd, uint32_t flags)
{
    struct epoll_event event = {.events = EPOLLIN | flags}, told = {0};
    int set = epoll_create1(EPOLL_CLOEXEC);
    CHECK_EQ(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
    CHECK(epoll_wait(set, &told, 1, SLEEP_MS * (int)suite_slow()) >= 0);
    close(set);
    return (int)told.events;
}

static int sleep_in_select(int fd)
{
    struct timeval limit = {.tv_sec = SLEEP_MS / 1000 * suite_slow()};
    fd_set in;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    return select(fd + 1, &in, NULL, NULL, &limit) == 1 ? POLLIN : 0;
}

static void *sleep_once(void *arg)
{
    struct sleeper *s = arg;
    struct pollfd state = {.fd = s->fd, .events = POLLIN};
    __atomic_store_n(&s->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    switch (s->how) {
    case BY_EPOLL:
    case BY_EPOLL_EDGE:
        s->events = sleep_in_epoll(s->fd, s->how == BY_EPOLL ? 0 : EPOLLET);
        break;
    case BY_SELECT:
        s->events = sleep_in_select(s->fd);
        break;
    case BY_POLL:
    case FOR_EVER:
        CHECK(poll(&state, 1, s->how == BY_POLL ? SLEEP_MS * (int)suite_slow() : -1) >= 0);
        s->events = state.revents;
        break;
    }
    s->woke = suite_now();
    return NULL;
}

/* The third field of a thread's stat: S is asleep. */
static char state_of(pid_t tid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    const char *end = strrchr(text, ')');
    return end ? end[2] : '?';
}

static void await_asleep(pid_t tid)
{
    for (int64_t limit = suite_now() + SLEEP_MS; state_of(tid) != 'S'; usleep(500))
        CHECK(suite_now() < limit);
}

static void fall_asleep(struct sleeper *s, int fd, enum how how)
{
    *s = (struct sleeper){.fd = fd, .how = how};
    CHECK_EQ(pthread_create(&s->thread, NULL, sleep_once, s), 0);
    while (!__atomic_load_n(&s->tid, __ATOMIC_ACQUIRE))
        usleep(200);
    await_asleep(s->tid);
}

/* It wakes promptly and was told `events`. Returns the milliseconds since `start`. */
static int64_t check_woken(struct sleeper *s, int64_t start, int events)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 2 * SLEEP_MS / 1000 * suite_slow();
    CHECK_EQ(pthread_timedjoin_np(s->thread, NULL, &limit), 0);
    CHECK_EQ(s->events, events);
    int64_t took = s->woke - start;
    suite_context("woken after %lld ms", (long long)took);
    CHECK(took < PROMPT_MS * suite_slow());
    suite_context(NULL);
    return took;
}

static void wake_by_write(enum how how)
{
    struct device d;
    int64_t worst = 0;
    device_open(&d);
    for (uint32_t i = 0; i < 12; i++) {
        struct sleeper sleeper;
        fall_asleep(&sleeper, d.buffer.fd, how);
        int64_t start = suite_now();
        write_port(&d.guest, i);
        int64_t took = check_woken(&sleeper, start, POLLIN);
        worst = took > worst ? took : worst;
        check_holds(d.buffer.ring, i);
    }
    suite_note("slowest %lld ms", (long long)worst);
    device_close(&d);
}

static void wake_poll(void)
{
    wake_by_write(BY_POLL);
}

static void wake_epoll(void)
{
    wake_by_write(BY_EPOLL);
}

static void wake_epoll_edge(void)
{
    wake_by_write(BY_EPOLL_EDGE);
}

static void wake_select(void)
{
    wake_by_write(BY_SELECT);
}

static void wake_blocking(void)
{
    wake_by_write(FOR_EVER);
}

/* One write, four sleepers of different kinds and fds: all wake. */
static void wake_all(void)
{
    struct device d;
    struct sleeper sleepers[4];
    static const enum how hows[] = {BY_POLL, BY_EPOLL, BY_SELECT, FOR_EVER};
    device_open(&d);
    int copy = dup(d.buffer.fd);
    for (uint32_t i = 0; i < 5; i++) {
        for (unsigned s = 0; s < 4; s++)
            fall_asleep(&sleepers[s], s % 2 ? copy : d.buffer.fd, hows[s]);
        int64_t start = suite_now();
        write_port(&d.guest, i);
        for (unsigned s = 0; s < 4; s++)
            check_woken(&sleepers[s], start, POLLIN);
        check_holds(d.buffer.ring, i);
    }
    close(copy);
    device_close(&d);
}

/* A sleeper on one ring is not woken by writes to another, and sleeps on to its limit. */
static void no_wake_for_others(void)
{
    struct device d;
    struct buffer other;
    struct sleeper sleeper;
    device_open(&d);
    buffer_open(&other, d.guest.vm);
    CHECK_EQ(mmio2_register(d.guest.vm, other.fd, true, PORT2, 4), 0);
    fall_asleep(&sleeper, other.fd, FOR_EVER);
    for (uint32_t i = 0; i < 20; i++)
        check_recorded(&d.guest, d.buffer.ring, true, i);
    CHECK_EQ(state_of(sleeper.tid), 'S');
    int64_t start = suite_now();
    const struct guest_write write = {true, PORT2, 4, 1};
    load_list(&d.guest, 0, &write, 1);
    CHECK(guest_run(&d.guest.vcpus[0]).end);
    check_woken(&sleeper, start, POLLIN);
    buffer_close(&other);
    device_close(&d);
}

static void wake_other_process(void)
{
    struct device d;
    device_open(&d);
    for (uint32_t i = 0; i < 5; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            struct sleeper self = {.fd = d.buffer.fd, .how = BY_POLL};
            sleep_once(&self);
            CHECK_EQ(self.events, POLLIN);
            check_holds(d.buffer.ring, i);
            _exit(0);
        }
        usleep(20000);
        await_asleep(child);
        int64_t start = suite_now();
        write_port(&d.guest, i);
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
        CHECK(suite_now() - start < PROMPT_MS * suite_slow());
        CHECK_EQ(ring_held(d.buffer.ring), 0);
    }
    device_close(&d);
}

/* ---- the VM's end wakes ---- */

static void hang_up_wakes(void)
{
    static const enum how hows[] = {BY_POLL, BY_EPOLL, BY_EPOLL_EDGE, FOR_EVER};
    int64_t worst = 0;
    for (unsigned h = 0; h < sizeof(hows) / sizeof(hows[0]); h++) {
        struct device d;
        struct sleeper mapped, unmapped;
        device_open(&d);
        int fd = mmio2_create(d.guest.vm);
        fall_asleep(&mapped, d.buffer.fd, hows[h]);
        fall_asleep(&unmapped, fd, hows[h]);
        int64_t start = suite_now();
        device_close_vm(&d);
        int64_t took = check_woken(&mapped, start, POLLHUP);
        worst = took > worst ? took : worst;
        check_woken(&unmapped, start, POLLHUP);
        close(fd);
        device_close(&d);
    }
    suite_note("slowest %lld ms", (long long)worst);
}

/* ---- no wake-up is lost ---- */

/*
 * A short form of kmod/litmus/stress.c, which says what it looks for. The consumer is on its way to sleep while the
 * next write comes. Where emulated CPUs take turns on one host thread, two threads run side by side only as far as
 * interrupts make the turns change: on each CPU a thread with a short timer, of random length, sees to that.
 */
#define LOST_MS    2000  /* a sleep of this length with an entry in the ring has lost a wake-up */
#define STRESS_MS  6000  /* all of it */
#define MAX_DELAY  2000  /* turns of an empty loop before the next write */
#define MAX_JITTER 60000 /* ns */

struct stress {
    struct device device;
    unsigned drained, lost;
    bool stop;
};

struct jitter {
    struct stress *stress;
    unsigned cpu;
};

static void run_on(unsigned cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK_EQ(pthread_setaffinity_np(pthread_self(), sizeof(set), &set), 0);
}

static void *shake(void *arg)
{
    struct jitter *j = arg;
    unsigned seed = j->cpu;
    run_on(j->cpu);
    prctl(PR_SET_TIMERSLACK, 1);
    while (!__atomic_load_n(&j->stress->stop, __ATOMIC_ACQUIRE)) {
        struct timespec nap = {.tv_nsec = 1000 + rand_r(&seed) % MAX_JITTER};
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void *drain(void *arg)
{
    struct stress *s = arg;
    struct kvm_coalesced_mmio_ring *ring = s->device.buffer.ring;
    struct pollfd state = {.fd = s->device.buffer.fd, .events = POLLIN};
    run_on(1);
    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
        int64_t start = suite_now();
        poll(&state, 1, LOST_MS * (int)suite_slow());
        if (!ring_held(ring))
            continue;
        if (suite_now() - start >= LOST_MS * suite_slow())
            s->lost++;
        ring_take(ring);
        __atomic_fetch_add(&s->drained, 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

GUEST_ASM(write_once, "1: outb %al, $0x80\noutb %al, $0xf5\njmp 1b\n");

static void none_lost(void)
{
    static struct stress s;
    struct jitter jitters[2] = {{&s, 0}, {&s, 1}};
    pthread_t shakers[2], consumer;
    unsigned turns = 0, seed = 1;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        suite_skip("one CPU: nothing can get in between");
    device_open(&s.device);
    guest_load(&s.device.guest, 0, write_once, (size_t)(write_once_end - write_once), NULL);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&shakers[i], NULL, shake, &jitters[i]), 0);
    CHECK_EQ(pthread_create(&consumer, NULL, drain, &s), 0);
    run_on(0);
    for (int64_t end = suite_now() + STRESS_MS * suite_slow(); suite_now() < end && !s.lost; turns++) {
        CHECK(guest_run(&s.device.guest.vcpus[0]).end);
        while (__atomic_load_n(&s.drained, __ATOMIC_ACQUIRE) == turns)
            sched_yield();
        for (volatile int delay = rand_r(&seed) % MAX_DELAY; delay; delay--)
            ;
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    CHECK_EQ(pthread_join(consumer, NULL), 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(shakers[i], NULL), 0);
    suite_context("%u writes", turns);
    CHECK_EQ(s.lost, 0);
    suite_note("%u writes, each followed by a wait", turns);
    device_close(&s.device);
}

const struct suite_case cases_wake[] = {
    {"wake/poll", wake_poll, 0},
    {"wake/epoll", wake_epoll, 0},
    {"wake/epoll-edge", wake_epoll_edge, 0},
    {"wake/select", wake_select, 0},
    {"wake/blocking", wake_blocking, 0},
    {"wake/all", wake_all, 0},
    {"wake/no-others", no_wake_for_others, 0},
    {"wake/other-process", wake_other_process, 0},
    {"wake/hang-up", hang_up_wakes, 0},
    {"wake/none-lost", none_lost, 60},
    {NULL, NULL, 0},
};
