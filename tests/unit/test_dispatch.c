/* SPDX-License-Identifier: BSD-2-Clause */
/* A ringd on the caller's own loop: ringd_poll_fd() and ringd_dispatch() in place of the ring thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "recorder.h"

#define MS      UINT64_C(1000000)
#define PORT    0x70u
#define BELL_AT 0xfe000000u
#define MANY    40u  /* more rings than one dispatch serves */
#define PATIENT 5000 /* ms: a machine under load may take this long; a bug takes for ever */

static struct ringd *rd;
static struct recorder recs[MANY];
static struct ringd_dev *devs[MANY];
static unsigned dev_count;
static int fd;

static uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int create(unsigned devices, uint64_t bound_ns, enum ringd_backend_kind backend)
{
    struct ringd_config config = {
        .backend = backend, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1, .max_replay_latency_ns = bound_ns};
    memset(recs, 0, sizeof(recs));
    dev_count = devices;
    int ret = ringd_create(&config, &rd);
    for (unsigned i = 0; i < devices && !ret; i++) {
        ret = ringd_add(rd, &recorder_ops, &recs[i], NULL, &devs[i]);
        if (!ret)
            ret = ringd_map(devs[i], INDEX, PORT + i * 0x10) || ringd_map(devs[i], BELL, BELL_AT + i * BELL_SIZE);
    }
    fd = ret ? -1 : ringd_poll_fd(rd);
    return fd < 0 ? -1 : 0;
}

/* A bound so long that only wake-ups can replay in time. */
static int setup(void **state)
{
    (void)state;
    return create(2, 60000 * MS, RINGD_BACKEND_MEMFD);
}

static int setup_default(void **state)
{
    (void)state;
    return create(2, 0, RINGD_BACKEND_MEMFD);
}

static int setup_many(void **state)
{
    (void)state;
    return create(MANY, 60000 * MS, RINGD_BACKEND_MEMFD);
}

static int setup_off(void **state)
{
    (void)state;
    return create(1, 0, RINGD_BACKEND_OFF);
}

static int teardown(void **state)
{
    (void)state;
    ringd_stop(rd);
    ringd_stop(rd);
    ringd_destroy(rd);
    for (unsigned i = 0; i < dev_count; i++)
        if (recs[i].destroyed != 1)
            return -1;
    return 0;
}

static void push(unsigned dev, uint64_t addr, uint64_t value)
{
    struct ringd_ring_page *page;
    int event;
    assert_int_equal(ringd_memfd_ring(devs[dev], &page, NULL, &event), 0);
    int ret = ringd_ring_push(page, addr, addr < 0x10000, &value, 1);
    assert_true(ret >= 0);
    if (ret) {
        uint64_t one = 1;
        assert_int_equal(write(event, &one, sizeof(one)), sizeof(one));
    }
}

static bool readable(int timeout_ms)
{
    struct pollfd what = {.fd = fd, .events = POLLIN};
    return poll(&what, 1, timeout_ms) == 1 && (what.revents & POLLIN);
}

/* As a loop does it: waits, dispatches, until `dev` has seen `count` accesses. No drain, no visit. */
static bool loop_until(unsigned dev, uint64_t count)
{
    for (uint64_t end = clock_ns() + PATIENT * MS; clock_ns() < end;) {
        struct ringd_counter counter = {0};
        ringd_dev_counters(devs[dev], &counter, 1);
        if (counter.value >= count)
            return true;
        if (readable(100))
            assert_true(ringd_dispatch(rd) >= 0);
    }
    return false;
}

static bool loop_until_fired(unsigned dev, unsigned timer, unsigned count)
{
    for (uint64_t end = clock_ns() + PATIENT * MS; recs[dev].fired[timer] < count && clock_ns() < end;)
        if (readable(100))
            assert_true(ringd_dispatch(rd) >= 0);
    return recs[dev].fired[timer] >= count;
}

struct timer_request {
    unsigned timer;
    uint64_t delay, deadline;
};

static void set_timer(void *self, void *arg)
{
    struct recorder *rec = self;
    struct timer_request *request = arg;
    request->deadline = rec->env->ops->now(rec->env) + request->delay;
    rec->env->ops->timer_set(rec->env, request->timer, request->deadline);
}

static uint64_t timer_in(unsigned dev, unsigned timer, uint64_t delay)
{
    struct timer_request request = {.timer = timer, .delay = delay};
    ringd_call(devs[dev], set_timer, &request);
    return request.deadline;
}

static void doorbell(void **state)
{
    struct ringd_ring_stats stats;
    (void)state;
    assert_false(readable(50)); /* silence costs nothing */
    assert_int_equal(ringd_dispatch(rd), 0);
    for (unsigned i = 1; i <= 50; i++) {
        push(0, BELL_AT, i);
        assert_true(readable(PATIENT));
        assert_int_equal(ringd_dispatch(rd), 1);
        assert_int_equal(recs[0].count, i);
        assert_int_equal(recs[0].log[i - 1].value, i);
        assert_false(readable(0));
        assert_int_equal(ringd_dispatch(rd), 0);
    }
    assert_int_equal(ringd_ring_stats(rd, 0, &stats), 0);
    assert_string_equal(stats.state, "armed");
    assert_int_equal(stats.wakeups, 50);
    assert_int_equal(stats.looks + stats.wakeups_wasted, 0);
    assert_true(ringd_thread_wakeups(rd) >= 100);
}

/* With the default bound, a latch ends in LATCH, and what is written then comes by a look: by the timer alone. */
static void latch(void **state)
{
    struct ringd_ring_stats stats;
    uint64_t end = clock_ns() + PATIENT * MS, count = 0;
    (void)state;
    do {
        push(0, PORT, 1);
        if (readable(0))
            ringd_dispatch(rd);
        ringd_read(devs[0], DATA, 0, 1);
        count += 2;
        assert_int_equal(ringd_ring_stats(rd, 0, &stats), 0);
    } while (strcmp(stats.state, "latch") != 0 && clock_ns() < end);
    assert_string_equal(stats.state, "latch");
    uint64_t wakeups = stats.wakeups;
    push(0, PORT, 2);
    assert_true(loop_until(0, count + 1));
    assert_int_equal(ringd_ring_stats(rd, 0, &stats), 0);
    assert_true(stats.switches >= 1 && stats.looks >= 1);
    assert_int_equal(stats.wakeups, wakeups);
}

static void timers(void **state)
{
    (void)state;
    uint64_t late = timer_in(0, 1, 60 * MS), early = timer_in(0, 0, 20 * MS), other = timer_in(1, 0, 40 * MS);
    assert_true(loop_until_fired(0, 1, 1));
    assert_int_equal(recs[0].fired[0] + recs[1].fired[0], 2);
    assert_true(recs[0].fired_at[0] >= early && recs[0].fired_at[1] >= late && recs[1].fired_at[0] >= other);
    assert_false(readable(0));
    timer_in(1, 1, 0);
    assert_true(readable(PATIENT));
    assert_int_equal(ringd_dispatch(rd), 1);
    assert_int_equal(recs[1].fired[1], 1);
    timer_in(1, 1, RINGD_NEVER / 2); /* none is left */
    assert_false(readable(20));
}

static void rearm_in_the_past(struct recorder *rec, unsigned timer)
{
    rec->env->ops->timer_set(rec->env, timer, 0);
}

/* A model that is always due keeps the fd readable, but no call from ending and no ring from its turn. */
static void greedy_timer(void **state)
{
    (void)state;
    recs[0].on_timer = rearm_in_the_past;
    timer_in(0, 0, MS);
    assert_true(loop_until_fired(0, 0, 100));
    push(1, BELL_AT + BELL_SIZE, 1);
    assert_true(loop_until(1, 1));
    assert_true(readable(PATIENT));
    ringd_pause(rd);
    assert_false(readable(20));
    ringd_resume(rd);
    assert_true(readable(PATIENT));
}

static void pausing(void **state)
{
    (void)state;
    push(0, PORT, 1);
    uint64_t deadline = timer_in(0, 0, 30 * MS);
    ringd_pause(rd);
    ringd_pause(rd);
    assert_int_equal(recs[0].count, 1); /* drained */
    assert_int_equal(recs[0].pauses + recs[1].pauses, 2);
    push(1, BELL_AT + BELL_SIZE, 2); /* by a producer that does not stand still */
    assert_false(readable(60));      /* else the caller's loop would spin */
    assert_int_equal(ringd_dispatch(rd), 0);
    assert_int_equal(recs[0].fired[0] + recs[1].count, 0);
    ringd_reset(rd);
    assert_int_equal(recs[0].resets + recs[1].resets, 2);
    assert_int_equal(recs[1].count, 1);
    ringd_resume(rd);
    assert_int_equal(recs[0].resumes + recs[1].resumes, 2);
    assert_true(loop_until_fired(0, 0, 1));
    assert_true(recs[0].fired_at[0] >= deadline);
    push(0, BELL_AT, 3);
    assert_true(loop_until(0, 2));
    for (unsigned i = 0; i < 100; i++) {
        ringd_pause(rd);
        ringd_resume(rd);
    }
    push(0, BELL_AT, 4);
    assert_true(loop_until(0, 3));
}

static void drained(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        push(0, PORT, i);
    ringd_drain(rd);
    assert_int_equal(recs[0].count, 10);
    push(0, PORT, 10);
    assert_int_equal(ringd_read(devs[0], DATA, 0, 1), 0x80); /* drains on its way */
    assert_int_equal(recs[0].count, 12);
    while (ringd_dispatch(rd) > 0)
        ;
    assert_int_equal(recs[0].count, 12);
    assert_false(readable(0));
}

/* Bounded work, and each ring's turn comes though one of them is always ready. */
static void many_rings(void **state)
{
    (void)state;
    for (unsigned round = 1; round <= 3; round++) {
        unsigned served = 0, calls = 0;
        for (unsigned i = 0; i < MANY; i++)
            push(i, BELL_AT + i * BELL_SIZE, round);
        while (served < MANY && readable(PATIENT)) {
            int now = ringd_dispatch(rd);
            assert_in_range(now, 1, 17);
            served += (unsigned)now;
            calls++;
        }
        assert_int_equal(served, MANY);
        assert_true(calls >= 3);
        for (unsigned i = 0; i < MANY; i++)
            assert_int_equal(recs[i].count, round);
    }
    for (unsigned calls = 0; recs[MANY - 1].count < 4; calls++) {
        assert_true(calls < 10);
        if (calls == 0)
            push(MANY - 1, BELL_AT + (MANY - 1) * BELL_SIZE, 4);
        for (unsigned i = 0; i + 1 < MANY; i++)
            push(i, BELL_AT + i * BELL_SIZE, 4);
        assert_true(ringd_dispatch(rd) > 0);
    }
}

static void added_while_paused(void **state)
{
    static struct recorder third;
    struct ringd_dev *dev;
    struct ringd_ring_page *page;
    struct ringd_counter counter = {0};
    int event;
    uint8_t value = 7;
    uint64_t one = 1;
    (void)state;
    memset(&third, 0, sizeof(third));
    ringd_pause(rd);
    assert_int_equal(ringd_add(rd, &recorder_ops, &third, NULL, &dev), 0);
    assert_int_equal(ringd_map(dev, INDEX, 0x170), 0);
    ringd_resume(rd);
    assert_int_equal(ringd_memfd_ring(dev, &page, NULL, &event), 0);
    assert_int_equal(ringd_ring_push(page, 0x170, 1, &value, 1), 1);
    assert_int_equal(write(event, &one, sizeof(one)), sizeof(one));
    assert_true(readable(PATIENT));
    assert_int_equal(ringd_dispatch(rd), 1);
    ringd_dev_counters(dev, &counter, 1);
    assert_int_equal(counter.value, 1);
}

/* Each with a write that nobody has replayed and a timer that is due; the rest go on, and room is there again. */
static void removed(void **state)
{
    (void)state;
    assert_int_equal(ringd_remove(devs[3]), -EBUSY);
    assert_int_equal(ringd_add(rd, &recorder_ops, &recs[3], NULL, &devs[3]), -EBUSY);
    for (unsigned i = 1; i < MANY; i += 2) {
        ringd_pause(rd);
        push(i, BELL_AT + i * BELL_SIZE, 1);
        timer_in(i, 0, 0);
        assert_int_equal(ringd_remove(devs[i]), 0);
        assert_int_equal(recs[i].count, 1);
        assert_int_equal(recs[i].destroyed, 1);
        assert_int_equal(recs[i].fired[0], 0);
        ringd_resume(rd);
        push(i - 1, BELL_AT + (i - 1) * BELL_SIZE, 1);
        assert_true(loop_until(i - 1, 1));
    }
    assert_int_equal(ringd_ring_count(rd), MANY / 2);
    assert_false(readable(20));
    struct recorder again = {0};
    struct ringd_dev *dev;
    ringd_pause(rd);
    assert_int_equal(ringd_add(rd, &recorder_ops, &again, NULL, &dev), 0);
    assert_int_equal(ringd_map(dev, BELL, BELL_AT + BELL_SIZE), 0); /* where the second one was */
    assert_int_equal(ringd_remove(dev), 0);
    assert_int_equal(again.destroyed, 1);
    ringd_resume(rd);
}

/* The two ways of running exclude each other, and either may follow the other. */
static void life(void **state)
{
    (void)state;
    assert_int_equal(ringd_poll_fd(rd), fd);
    assert_int_equal(ringd_start(rd), -EBUSY);
    push(0, PORT, 1);
    ringd_stop(rd);
    assert_int_equal(recs[0].count, 1);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(ringd_dispatch(rd), -EINVAL);
    push(0, PORT, 2);
    assert_int_equal(ringd_start(rd), 0);
    assert_int_equal(ringd_poll_fd(rd), -EBUSY);
    assert_int_equal(ringd_dispatch(rd), -EINVAL);
    struct ringd_counter counter = {0};
    for (uint64_t end = clock_ns() + PATIENT * MS; counter.value < 2 && clock_ns() < end;)
        ringd_dev_counters(devs[0], &counter, 1);
    assert_int_equal(counter.value, 2);
    ringd_stop(rd);
    ringd_pause(rd); /* and it may begin standing still */
    fd = ringd_poll_fd(rd);
    assert_true(fd >= 0);
    push(0, PORT, 3);
    timer_in(0, 0, 0);
    assert_false(readable(20));
    assert_int_equal(ringd_dispatch(rd), 0);
    ringd_resume(rd);
    assert_true(loop_until_fired(0, 0, 1));
    assert_true(loop_until(0, 3));
}

/* One store of nonsense by a producer must not keep the caller's loop spinning. */
static void hostile_last(void **state)
{
    struct ringd_ring_page *page;
    struct ringd_ring_stats stats;
    int event;
    uint64_t one = 1;
    (void)state;
    assert_int_equal(ringd_memfd_ring(devs[0], &page, NULL, &event), 0);
    __atomic_store_n(&page->last, UINT32_MAX, __ATOMIC_RELEASE);
    assert_int_equal(write(event, &one, sizeof(one)), sizeof(one));
    for (unsigned i = 0; i < 10 && ringd_dispatch(rd) > 0; i++)
        ;
    assert_false(readable(20));
    assert_int_equal(ringd_ring_stats(rd, 0, &stats), 0);
    assert_true(stats.bad >= 1);
}

static void without_rings(void **state)
{
    (void)state;
    ringd_write(devs[0], INDEX, 0, 1, 0x0c);
    assert_int_equal(recs[0].count, 1);
    assert_false(readable(0));
    timer_in(0, 0, MS);
    assert_true(loop_until_fired(0, 0, 1));
}

/* Watched in an epoll set of the caller's, as most loops do. */
static void nested(void **state)
{
    (void)state;
    int outer = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    assert_int_equal(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event), 0);
    for (unsigned i = 1; i <= 20; i++) {
        push(i % 2, BELL_AT + i % 2 * BELL_SIZE, i);
        assert_int_equal(epoll_wait(outer, &event, 1, PATIENT), 1);
        assert_int_equal(ringd_dispatch(rd), 1);
        assert_int_equal(epoll_wait(outer, &event, 1, 0), 0);
    }
    close(outer);
}

static sem_t inside, go_on;

static void stay_inside(struct recorder *rec, unsigned timer)
{
    (void)rec;
    (void)timer;
    sem_post(&inside);
    sem_wait(&go_on);
}

static void *dispatch_once(void *arg)
{
    while (ringd_dispatch(arg) == 0)
        readable(100);
    return NULL;
}

static void *pause_it(void *arg)
{
    ringd_pause(arg);
    sem_post(&inside);
    return NULL;
}

/* A second thread is turned away, and a pause waits for the call that is under way. */
static void one_at_a_time(void **state)
{
    pthread_t loop, pauser;
    struct timespec ms20 = {.tv_nsec = 20 * 1000000};
    (void)state;
    sem_init(&inside, 0, 0);
    sem_init(&go_on, 0, 0);
    recs[0].on_timer = stay_inside;
    timer_in(0, 0, 0);
    assert_int_equal(pthread_create(&loop, NULL, dispatch_once, rd), 0);
    sem_wait(&inside);
    assert_int_equal(ringd_dispatch(rd), -EBUSY);
    assert_int_equal(pthread_create(&pauser, NULL, pause_it, rd), 0);
    nanosleep(&ms20, NULL);
    assert_int_equal(sem_trywait(&inside), -1); /* not paused yet */
    sem_post(&go_on);
    sem_wait(&inside);
    assert_int_equal(recs[0].pauses, 1);
    pthread_join(loop, NULL);
    pthread_join(pauser, NULL);
    ringd_resume(rd);
    sem_destroy(&inside);
    sem_destroy(&go_on);
}

static void copy_fired(void *self, void *arg)
{
    *(unsigned *)arg = ((const struct recorder *)self)->fired[0];
}

static unsigned ended; /* atomic */
static pthread_mutex_t vcpu_runs = PTHREAD_MUTEX_INITIALIZER;

static void *loop_thread(void *arg)
{
    while (!__atomic_load_n(&ended, __ATOMIC_RELAXED))
        if (readable(10))
            (void)ringd_dispatch(arg);
    return NULL;
}

static void *vcpu_thread(void *arg)
{
    for (unsigned i = 0; i < 2000; i++) {
        pthread_mutex_lock(&vcpu_runs);
        ringd_read(arg, DATA, 0, 1);
        pthread_mutex_unlock(&vcpu_runs);
    }
    return NULL;
}

/* A loop thread, a vCPU, a producer and pauses, all at once: each write exactly once and in order. */
static void all_at_once(void **state)
{
    pthread_t loop, vcpu;
    struct ringd_ring_page *page;
    int event;
    (void)state;
    assert_int_equal(ringd_memfd_ring(devs[0], &page, NULL, &event), 0);
    __atomic_store_n(&ended, 0, __ATOMIC_RELAXED);
    assert_int_equal(pthread_create(&loop, NULL, loop_thread, rd), 0);
    assert_int_equal(pthread_create(&vcpu, NULL, vcpu_thread, devs[1]), 0);
    for (unsigned i = 0; i < 1000; i++) {
        uint32_t value = i;
        uint64_t one = 1;
        int ret;
        while ((ret = ringd_ring_push(page, BELL_AT, 0, &value, 4)) == -EAGAIN)
            sched_yield();
        if (ret == 1)
            assert_int_equal(write(event, &one, sizeof(one)), sizeof(one));
        if (i % 3 == 0) {
            pthread_mutex_lock(&vcpu_runs);
            ringd_pause(rd);
            ringd_resume(rd);
            pthread_mutex_unlock(&vcpu_runs);
        }
        if (i % 7 == 0)
            timer_in(1, 0, MS / 10);
    }
    assert_int_equal(pthread_join(vcpu, NULL), 0);
    struct ringd_counter counter = {0};
    unsigned fired = 0;
    for (uint64_t end = clock_ns() + PATIENT * MS; (counter.value < 1000 || !fired) && clock_ns() < end;) {
        ringd_dev_counters(devs[0], &counter, 1);
        ringd_call(devs[1], copy_fired, &fired);
    }
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(loop, NULL), 0);
    assert_int_equal(recs[0].count, 1000);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(recs[0].log[i].value, i);
    assert_int_equal(recs[1].count, 2000);
    assert_true(fired >= 1);
}

/* Always due; the first time it waits inside. */
static bool stay; /* the dispatching thread's, between two semaphores */

static void stay_once(struct recorder *rec, unsigned timer)
{
    if (stay)
        stay_inside(rec, timer);
    stay = false;
    rec->env->ops->timer_set(rec->env, timer, 0);
}

static void *dispatch_twice(void *arg)
{
    int first = ringd_dispatch(rd), *second = arg;
    *second = ringd_dispatch(rd);
    return first > 0 ? NULL : "the timer was not due";
}

static int stopper; /* atomic; its thread ID */

static void *stop_it(void *arg)
{
    __atomic_store_n(&stopper, gettid(), __ATOMIC_RELAXED);
    ringd_stop(arg);
    return NULL;
}

/* Is the thread asleep? Nothing but the call that is under way keeps it waiting. */
static bool asleep(int tid)
{
    char name[64], line[256], state = 0;
    snprintf(name, sizeof(name), "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(name, "r");
    if (file && fgets(line, sizeof(line), file) && strrchr(line, ')'))
        state = strrchr(line, ')')[2];
    if (file)
        fclose(file);
    return state == 'S';
}

/* Whoever dispatches again as soon as a call is over would be inside again before the other has woken up. */
static void stop_comes_first(void **state)
{
    (void)state;
    recs[0].on_timer = stay_once;
    for (unsigned round = 0; round < 50; round++) {
        struct timespec ms = {.tv_nsec = MS};
        pthread_t loop, stop;
        void *failure;
        int second = 1;
        sem_init(&inside, 0, 0);
        sem_init(&go_on, 0, 0);
        stay = true;
        __atomic_store_n(&stopper, 0, __ATOMIC_RELAXED);
        timer_in(0, 0, 0);
        assert_int_equal(pthread_create(&loop, NULL, dispatch_twice, &second), 0);
        sem_wait(&inside);
        assert_int_equal(pthread_create(&stop, NULL, stop_it, rd), 0);
        for (int tid = 0; !tid || !asleep(tid); tid = __atomic_load_n(&stopper, __ATOMIC_RELAXED))
            nanosleep(&ms, NULL);
        sem_post(&go_on);
        pthread_join(loop, &failure);
        pthread_join(stop, NULL);
        assert_null(failure);
        assert_true(second == 0 || second == -EINVAL);
        fd = ringd_poll_fd(rd);
        assert_true(fd >= 0);
        sem_destroy(&inside);
        sem_destroy(&go_on);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(doorbell, setup, teardown),
        cmocka_unit_test_setup_teardown(latch, setup_default, teardown),
        cmocka_unit_test_setup_teardown(timers, setup, teardown),
        cmocka_unit_test_setup_teardown(greedy_timer, setup, teardown),
        cmocka_unit_test_setup_teardown(pausing, setup, teardown),
        cmocka_unit_test_setup_teardown(drained, setup, teardown),
        cmocka_unit_test_setup_teardown(many_rings, setup_many, teardown),
        cmocka_unit_test_setup_teardown(added_while_paused, setup, teardown),
        cmocka_unit_test_setup_teardown(removed, setup_many, teardown),
        cmocka_unit_test_setup_teardown(life, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_last, setup, teardown),
        cmocka_unit_test_setup_teardown(without_rings, setup_off, teardown),
        cmocka_unit_test_setup_teardown(nested, setup, teardown),
        cmocka_unit_test_setup_teardown(one_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(all_at_once, setup_default, teardown),
        cmocka_unit_test_setup_teardown(stop_comes_first, setup_off, teardown),
    };

    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
