/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All threads at once, on rings in shared memory: the ring thread; vCPUs that read, write and call; a control thread
 * that pauses, resumes, resets, moves and removes regions; and producers. Each producer's writes carry its number and
 * a count, so the model sees each loss, repetition and reordering. Two seconds, or RINGVMM_TEST_SECONDS altogether.
 * Made for ThreadSanitizer; worth running without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ringd/ringd.h>

#define MS        UINT64_C(1000000)
#define DEVICES   2u
#define PRODUCERS 2u /* a device */
#define BELLS     0x1000u
#define BELLS_AT  UINT64_C(0xfe000000)
#define WINDOW_AT UINT64_C(0xd0000000)

enum { BELL, STATUS, WINDOW, REGIONS };

/* Written with the device's lock held only; read at the end. */
struct counter {
    const struct ringd_env *env;
    uint64_t next[PRODUCERS]; /* the value that each producer's next write must have */
    uint64_t wrong, statuses, reads, calls, ticks, window;
    int64_t inside; /* operations at work: never two */
};

struct device {
    struct ringd_dev *dev;
    struct counter counter;
    struct ringd_ring_page *page;
    int event;
    pthread_mutex_t producers; /* as KVM has one for its ring */
};

struct world {
    struct ringd *rd;
    struct device devices[DEVICES];
    pthread_rwlock_t vcpus_run; /* held for reading by vCPUs and producers, for writing to stop them */
    unsigned stop;              /* atomic */
    unsigned full[DEVICES][PRODUCERS], moves, pauses;
};

struct worker {
    struct world *world;
    unsigned device, number;
    uint64_t sent;
    pthread_t thread;
};

static int counter_create(const struct ringd_env *env, const void *config, void **self)
{
    struct counter *counter = (struct counter *)(uintptr_t)config; /* the test's own */
    counter->env = env;
    *self = counter;
    return 0;
}

static void counter_destroy(void *self)
{
    (void)self;
}

static void enter(struct counter *counter)
{
    counter->wrong += counter->inside++ != 0;
}

static void leave(struct counter *counter)
{
    counter->wrong += --counter->inside != 0;
}

static uint64_t counter_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct counter *counter = self;
    (void)width;
    enter(counter);
    counter->reads++;
    uint64_t value = region == STATUS && offset / 8 < PRODUCERS ? counter->next[offset / 8] : 0;
    leave(counter);
    return value;
}

static void counter_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct counter *counter = self;
    enter(counter);
    if (region == BELL && offset % 8 == 0 && width == 8 && offset / 8 < PRODUCERS)
        counter->wrong += counter->next[offset / 8]++ != value;
    else if (region == WINDOW)
        counter->window++;
    else if (region == STATUS)
        counter->statuses++;
    else
        counter->wrong++;
    leave(counter);
}

static void counter_timer(void *self, unsigned timer)
{
    struct counter *counter = self;
    enter(counter);
    counter->ticks++;
    counter->env->ops->timer_set(counter->env, timer, counter->env->ops->now(counter->env) + MS / 2);
    leave(counter);
}

static void counter_reset(void *self)
{
    struct counter *counter = self;
    enter(counter);
    counter->env->ops->timer_set(counter->env, 0, counter->env->ops->now(counter->env) + MS);
    leave(counter);
}

static const struct ringd_region counter_regions[REGIONS] = {
    [BELL] = {"bell", RINGD_MMIO, 0, BELLS, 8, RINGD_POSTED, "counts"},
    [STATUS] = {"status", RINGD_MMIO, BELLS, 64, 1 | 8, 0, "the counts"},
    [WINDOW] = {"window", RINGD_MMIO, 0, 4096, 4, RINGD_POSTED | RINGD_MOVABLE, "counts"},
};

static const struct ringd_device_ops counter_ops = {
    .name = "counter",
    .summary = "counts writes",
    .regions = counter_regions,
    .region_count = REGIONS,
    .timer_count = 1,
    .create = counter_create,
    .destroy = counter_destroy,
    .read = counter_read,
    .write = counter_write,
    .timer = counter_timer,
    .reset = counter_reset,
};

static uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_ns(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&ts, NULL);
}

static uint64_t at_of(unsigned device)
{
    return BELLS_AT + device * UINT64_C(0x100000);
}

static void world_create(struct world *world, uint64_t bound_ns, bool no_moderation)
{
    struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD,
                                  .vm_fd = -1,
                                  .vcpu_fd = -1,
                                  .cpu = -1,
                                  .max_replay_latency_ns = bound_ns,
                                  .no_moderation = no_moderation};
    memset(world, 0, sizeof(*world));
    pthread_rwlock_init(&world->vcpus_run, NULL);
    assert_int_equal(ringd_create(&config, &world->rd), 0);
    for (unsigned i = 0; i < DEVICES; i++) {
        struct device *device = &world->devices[i];
        pthread_mutex_init(&device->producers, NULL);
        assert_int_equal(ringd_add(world->rd, &counter_ops, &device->counter, NULL, &device->dev), 0);
        assert_int_equal(ringd_memfd_ring(device->dev, &device->page, NULL, &device->event), 0);
        assert_int_equal(ringd_map(device->dev, BELL, at_of(i)), 0);
        assert_int_equal(ringd_map(device->dev, STATUS, at_of(i) + BELLS), 0);
    }
    ringd_reset(world->rd); /* sets the timers going */
    assert_int_equal(ringd_start(world->rd), 0);
}

static void world_destroy(struct world *world)
{
    ringd_stop(world->rd);
    ringd_destroy(world->rd);
    for (unsigned i = 0; i < DEVICES; i++)
        pthread_mutex_destroy(&world->devices[i].producers);
    pthread_rwlock_destroy(&world->vcpus_run);
}

/* As KVM does it: into the ring, or by an exit when there is no room. Returns true for an exit. */
static bool post(struct device *device, uint64_t addr, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    pthread_mutex_lock(&device->producers);
    int ret = ringd_ring_push(device->page, addr, 0, &value, width);
    pthread_mutex_unlock(&device->producers);
    if (ret == 1) {
        uint64_t one = 1;
        ssize_t done = write(device->event, &one, sizeof(one));
        (void)done;
    }
    if (ret != -EAGAIN)
        return false;
    ringd_write(device->dev, region, offset, width, value);
    return true;
}

static bool stopped(struct world *world)
{
    return __atomic_load_n(&world->stop, __ATOMIC_RELAXED) != 0;
}

/* Bursts and silences of many lengths; now and then it asks for its own count, which must be up to date. */
static void *producer(void *arg)
{
    struct worker *self = arg;
    struct world *world = self->world;
    struct device *device = &world->devices[self->device];
    uint64_t seed = self->device * 2 + self->number + 1;
    unsigned wrong = 0;
    while (!stopped(world)) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned r = (unsigned)(seed >> 33), burst = 1u << r % 9;
        pthread_rwlock_rdlock(&world->vcpus_run);
        for (unsigned i = 0; i < burst; i++)
            world->full[self->device][self->number] +=
                post(device, at_of(self->device) + self->number * 8, BELL, self->number * 8, 8, self->sent++);
        if (r & 0x1000)
            wrong += ringd_read(device->dev, STATUS, self->number * 8, 8) != self->sent;
        pthread_rwlock_unlock(&world->vcpus_run);
        if (r & 0x6000)
            sched_yield();
        else
            sleep_ns((uint64_t)1 << (r >> 16) % 21);
    }
    return (void *)(uintptr_t)wrong;
}

static void count_call(void *self, void *arg)
{
    struct counter *counter = self;
    (void)arg;
    enter(counter);
    counter->calls++;
    leave(counter);
}

static void *vcpu(void *arg)
{
    struct worker *self = arg;
    struct world *world = self->world;
    struct device *device = &world->devices[self->device];
    for (unsigned i = 0; !stopped(world); i++) {
        pthread_rwlock_rdlock(&world->vcpus_run);
        ringd_read(device->dev, STATUS, 32, 8);
        ringd_write(device->dev, STATUS, 40, 8, i);
        ringd_write_part(device->dev, STATUS, 48, 1, i & 0xff);
        ringd_call(device->dev, count_call, NULL);
        pthread_rwlock_unlock(&world->vcpus_run);
        self->sent++;
        if (i % 4 == 0)
            sleep_ns(20000);
    }
    return NULL;
}

static void *control(void *arg)
{
    struct worker *self = arg;
    struct world *world = self->world;
    for (unsigned i = 0; !stopped(world); i++) {
        struct device *device = &world->devices[i % DEVICES];
        struct ringd_ring_stats ring;
        struct ringd_region_stats region;
        struct ringd_lock_stats lock;
        uint64_t at = WINDOW_AT + (i % 16) * 4096;
        ringd_map(device->dev, WINDOW, at);
        post(device, at, WINDOW, 0, 4, i);
        post(device, at + 4092, WINDOW, 4092, 4, i);
        ringd_unmap(device->dev, WINDOW);
        world->moves++;
        ringd_drain(world->rd);
        ringd_ring_stats(world->rd, i % DEVICES, &ring);
        ringd_region_stats(device->dev, BELL, &region);
        ringd_dev_lock_stats(device->dev, &lock);
        ringd_thread_wakeups(world->rd);
        if (i % 8 == 0) {
            pthread_rwlock_wrlock(&world->vcpus_run);
            ringd_pause(world->rd);
            if (i % 16 == 0)
                ringd_reset(world->rd);
            ringd_resume(world->rd);
            pthread_rwlock_unlock(&world->vcpus_run);
            world->pauses++;
        }
        sleep_ns(MS);
    }
    return NULL;
}

static void check_ring(struct world *world, unsigned i, const struct worker producers[PRODUCERS])
{
    struct device *device = &world->devices[i];
    struct ringd_ring_stats stats;
    struct ringd_region_stats bell, window;
    uint64_t sent = 0, full = 0;
    for (unsigned j = 0; j < PRODUCERS; j++) {
        assert_int_equal(device->counter.next[j], producers[j].sent);
        sent += producers[j].sent;
        full += world->full[i][j];
    }
    assert_int_equal(device->counter.wrong, 0);
    assert_int_equal(ringd_ring_stats(world->rd, i, &stats), 0);
    assert_int_equal(ringd_region_stats(device->dev, BELL, &bell), 0);
    assert_int_equal(ringd_region_stats(device->dev, WINDOW, &window), 0);
    assert_int_equal(stats.bad, 0);
    assert_int_equal(bell.full_exits, full);
    assert_int_equal(bell.posted, sent - full);
    assert_int_equal(stats.entries, bell.posted + window.posted);
    assert_int_equal(stats.full_exits, full + window.full_exits);
    assert_int_equal(device->counter.window, window.posted + window.full_exits);
    assert_int_equal(stats.latency.count, stats.entries);
    assert_true(stats.entries_vcpu <= stats.entries);
    assert_true(device->counter.ticks > 0);
}

static void storm(uint64_t bound_ns, bool no_moderation, uint64_t ns)
{
    static struct world world;
    struct worker producers[DEVICES][PRODUCERS], vcpus[DEVICES], controller = {.world = &world};
    uint64_t wrong = 0, moves = 0;
    world_create(&world, bound_ns, no_moderation);
    for (unsigned i = 0; i < DEVICES; i++) {
        for (unsigned j = 0; j < PRODUCERS; j++) {
            producers[i][j] = (struct worker){.world = &world, .device = i, .number = j};
            assert_int_equal(pthread_create(&producers[i][j].thread, NULL, producer, &producers[i][j]), 0);
        }
        vcpus[i] = (struct worker){.world = &world, .device = i};
        assert_int_equal(pthread_create(&vcpus[i].thread, NULL, vcpu, &vcpus[i]), 0);
    }
    assert_int_equal(pthread_create(&controller.thread, NULL, control, &controller), 0);
    sleep_ns(ns);
    __atomic_store_n(&world.stop, 1, __ATOMIC_RELAXED);
    pthread_join(controller.thread, NULL);
    for (unsigned i = 0; i < DEVICES; i++) {
        for (unsigned j = 0; j < PRODUCERS; j++) {
            void *result;
            pthread_join(producers[i][j].thread, &result);
            wrong += (uintptr_t)result;
        }
        pthread_join(vcpus[i].thread, NULL);
    }
    ringd_stop(world.rd);
    for (unsigned i = 0; i < DEVICES; i++) {
        check_ring(&world, i, producers[i]);
        assert_int_equal(world.devices[i].counter.calls, vcpus[i].sent);
        assert_int_equal(world.devices[i].counter.statuses, 2 * vcpus[i].sent);
        moves += world.devices[i].counter.window;
    }
    assert_int_equal(wrong, 0); /* a read that did not see what its own thread had posted */
    assert_int_equal(moves, 2 * world.moves);
    assert_true(world.pauses > 0);
    world_destroy(&world);
}

static uint64_t share_ns(unsigned percent)
{
    const char *seconds = getenv("RINGVMM_TEST_SECONDS");
    long total = seconds ? strtol(seconds, NULL, 10) : 2;
    return (uint64_t)(total > 0 && total < 86400 ? total : 2) * 10 * MS * percent;
}

static void with_moderation(void **state)
{
    (void)state;
    storm(0, false, share_ns(30));
}

static void without_moderation(void **state)
{
    (void)state;
    storm(0, true, share_ns(25));
}

static void shortest_bound(void **state)
{
    (void)state;
    storm(RINGD_LEAST_MAX_REPLAY_LATENCY_NS, false, share_ns(25));
}

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/*
 * Waits until device 0 was given this many bells, by that many wake-ups, and returns how long the bells took. It sleeps
 * between its looks: turning round, it would take the CPU and the ring's lock from the thread that it waits for. A
 * wake-up is counted a moment after what it has replayed.
 */
static uint64_t wait_for_bells(struct world *world, uint64_t bells, uint64_t begin)
{
    struct ringd_region_stats region = {0};
    struct ringd_ring_stats ring = {0};
    uint64_t took = 0;
    while (clock_ns() - begin < 5000 * MS) {
        assert_int_equal(ringd_region_stats(world->devices[0].dev, BELL, &region), 0); /* does not drain */
        if (region.posted >= bells && !took)
            took = clock_ns() - begin;
        assert_int_equal(ringd_ring_stats(world->rd, 0, &ring), 0);
        if (took && ring.wakeups >= bells)
            return took;
        sleep_ns(MS / 20);
    }
    fail_msg("of %llu bells %llu were replayed, by %llu wake-ups", (unsigned long long)bells,
             (unsigned long long)region.posted, (unsigned long long)ring.wakeups);
    return 0;
}

/* A doorbell on an idle ring waits for a wake-up, not for the bound: here the bound is far off, and only now and then
 * may a busy host be late. */
static void idle_is_woken(void **state)
{
    enum { RINGS = 60 };
    static struct world world;
    static uint64_t waits[RINGS];
    (void)state;
    world_create(&world, 20000 * MS, false);
    for (unsigned i = 0; i < RINGS; i++) {
        uint64_t begin = clock_ns();
        post(&world.devices[0], at_of(0), BELL, 0, 8, i);
        waits[i] = wait_for_bells(&world, i + 1, begin);
        sleep_ns(share_ns(20) / RINGS);
    }
    struct ringd_ring_stats stats;
    assert_int_equal(ringd_ring_stats(world.rd, 0, &stats), 0);
    assert_string_equal(stats.state, "armed");
    assert_int_equal(stats.entries_vcpu + stats.looks, 0);
    assert_int_equal(stats.wakeups, RINGS);
    qsort(waits, RINGS, sizeof(waits[0]), by_value);
    print_message("a bell took %llu us (p50), %llu us (p90), %llu us (max)\n",
                  (unsigned long long)waits[RINGS / 2] / 1000, (unsigned long long)waits[RINGS * 9 / 10] / 1000,
                  (unsigned long long)waits[RINGS - 1] / 1000);
    assert_true(waits[RINGS / 2] < 20 * MS);
    assert_true(waits[RINGS * 9 / 10] < 50 * MS);
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_moderation),
        cmocka_unit_test(without_moderation),
        cmocka_unit_test(shortest_bound),
        cmocka_unit_test(idle_is_woken),
    };

    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
