/* SPDX-License-Identifier: BSD-2-Clause */
/* What the loop does for the embedder: ringd_watch() and ringd_after(), with the ring thread and with ringd_dispatch().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "recorder.h"

#define FDS        3u
#define PATIENT_MS 5000 /* a machine under load may take this long; a bug takes for ever */
#define SHORT_MS   30   /* for what must not happen */

struct watched {
    int fd;
    unsigned calls; /* atomic */
    pthread_t thread;
    bool reaches; /* the callback also calls into a device */
};

static struct ringd *rd;
static struct ringd_dev *dev;
static struct recorder rec;
static struct watched watched[FDS];

static void touch(void *self, void *arg)
{
    (void)self;
    *(unsigned *)arg += 1;
}

static void on_fd(void *ctx)
{
    struct watched *at = ctx;
    uint64_t count;
    unsigned touched = 0;
    assert_int_equal(read(at->fd, &count, sizeof(count)), sizeof(count));
    if (at->reaches)
        ringd_call(dev, touch, &touched);
    assert_int_equal(touched, at->reaches);
    at->thread = pthread_self();
    __atomic_fetch_add(&at->calls, 1, __ATOMIC_SEQ_CST);
}

static int setup(void **state)
{
    const struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    (void)state;
    memset(&rec, 0, sizeof(rec));
    memset(watched, 0, sizeof(watched));
    for (unsigned i = 0; i < FDS; i++)
        watched[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    watched[1].reaches = true;
    return ringd_create(&config, &rd) || ringd_add(rd, &recorder_ops, &rec, NULL, &dev);
}

static int teardown(void **state)
{
    (void)state;
    ringd_stop(rd);
    ringd_destroy(rd);
    for (unsigned i = 0; i < FDS; i++)
        close(watched[i].fd);
    return 0;
}

static unsigned calls(unsigned i)
{
    return __atomic_load_n(&watched[i].calls, __ATOMIC_SEQ_CST);
}

static void signal_it(unsigned i)
{
    uint64_t one = 1;
    assert_int_equal(write(watched[i].fd, &one, sizeof(one)), sizeof(one));
}

static void sleep_ms(unsigned ms)
{
    struct timespec ts = {.tv_nsec = (long)ms * 1000000};
    nanosleep(&ts, NULL);
}

static void await(unsigned i, unsigned count)
{
    for (unsigned ms = 0; ms < PATIENT_MS && calls(i) < count; ms++)
        sleep_ms(1);
    assert_int_equal(calls(i), count);
}

static void watch(unsigned i)
{
    assert_int_equal(ringd_watch(rd, watched[i].fd, on_fd, &watched[i]), 0);
}

static void in_the_thread(void **state)
{
    (void)state;
    watch(0);
    watch(1);
    assert_int_equal(ringd_watch(rd, watched[0].fd, on_fd, &watched[0]), -EEXIST);
    signal_it(0);
    sleep_ms(SHORT_MS);
    assert_int_equal(calls(0), 0); /* nobody watches yet */
    assert_int_equal(ringd_start(rd), 0);
    await(0, 1);
    for (unsigned i = 1; i <= 20; i++) {
        signal_it(i & 1);
        await(i & 1, i & 1 ? (i + 1) / 2 : 1 + i / 2);
    }
    assert_false(pthread_equal(watched[0].thread, pthread_self()));
    assert_int_equal(ringd_watch(rd, watched[2].fd, on_fd, &watched[2]), -EBUSY);
    assert_int_equal(ringd_unwatch(rd, watched[0].fd), -EBUSY);
}

static void while_paused(void **state)
{
    (void)state;
    watch(0);
    assert_int_equal(ringd_start(rd), 0);
    ringd_pause(rd);
    signal_it(0);
    watch(1);
    assert_int_equal(ringd_unwatch(rd, watched[2].fd), -ENOENT);
    sleep_ms(SHORT_MS);
    assert_int_equal(calls(0), 0);
    ringd_resume(rd);
    await(0, 1);
    signal_it(1);
    await(1, 1);
    ringd_pause(rd);
    assert_int_equal(ringd_unwatch(rd, watched[0].fd), 0);
    ringd_resume(rd);
    signal_it(0);
    signal_it(1);
    await(1, 2);
    assert_int_equal(calls(0), 1);
    /* Ended and begun anew, with what was left. */
    ringd_stop(rd);
    signal_it(1);
    assert_int_equal(ringd_unwatch(rd, watched[1].fd), 0);
    watch(1);
    assert_int_equal(ringd_start(rd), 0);
    await(1, 3);
}

static bool readable(int fd, int ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, ms) == 1;
}

static void in_the_callers_loop(void **state)
{
    (void)state;
    watch(0);
    signal_it(0);
    int fd = ringd_poll_fd(rd);
    assert_true(fd >= 0);
    assert_true(readable(fd, PATIENT_MS));
    assert_int_equal(ringd_dispatch(rd), 1);
    assert_int_equal(calls(0), 1);
    assert_true(pthread_equal(watched[0].thread, pthread_self()));
    assert_false(readable(fd, 0));
    assert_int_equal(ringd_unwatch(rd, watched[0].fd), -EBUSY);
    ringd_pause(rd);
    signal_it(0);
    watch(1);
    signal_it(1);
    assert_false(readable(fd, SHORT_MS));
    assert_int_equal(ringd_dispatch(rd), 0);
    ringd_resume(rd);
    assert_true(readable(fd, PATIENT_MS));
    assert_int_equal(ringd_dispatch(rd), 2);
    assert_int_equal(calls(0), 2);
    assert_int_equal(calls(1), 1);
    ringd_pause(rd);
    assert_int_equal(ringd_unwatch(rd, watched[0].fd), 0);
    ringd_resume(rd);
    signal_it(0);
    assert_false(readable(fd, SHORT_MS));
    /* From one loop to the other. */
    ringd_stop(rd);
    assert_int_equal(ringd_start(rd), 0);
    signal_it(1);
    await(1, 2);
}

/* A descriptor that epoll does not take. */
static void refused(void **state)
{
    char path[] = "/tmp/test_watch.XXXXXX";
    int file = mkstemp(path);
    (void)state;
    assert_true(file >= 0);
    unlink(path);
    assert_true(ringd_poll_fd(rd) >= 0);
    ringd_pause(rd);
    assert_int_equal(ringd_watch(rd, file, on_fd, &watched[0]), -EPERM);
    assert_int_equal(ringd_unwatch(rd, file), -ENOENT);
    ringd_resume(rd);
    ringd_stop(rd);
    assert_int_equal(ringd_watch(rd, file, on_fd, &watched[0]), -EPERM);
    close(file);
}

/* ---- after a replay ---- */

#define PORT 0x70u

static struct {
    unsigned calls, seen; /* atomic; how much the model had been told by then */
    pthread_t thread;
} after;

static void look(void *self, void *arg)
{
    const struct recorder *recorder = self;
    *(unsigned *)arg = recorder->count + recorder->fired[0];
}

/* Takes the device's lock: whoever calls it with that held waits for ever, or aborts. */
static void on_after(void *ctx)
{
    unsigned seen;
    assert_ptr_equal(ctx, &after);
    ringd_call(dev, look, &seen);
    after.thread = pthread_self();
    __atomic_store_n(&after.seen, seen, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&after.calls, 1, __ATOMIC_SEQ_CST);
}

static void post(void)
{
    struct ringd_ring_page *page;
    uint64_t value = 1;
    int event;
    assert_int_equal(ringd_memfd_ring(dev, &page, NULL, &event), 0);
    assert_true(ringd_ring_push(page, PORT, 1, &value, 1) >= 0);
    assert_int_equal(write(event, &value, sizeof(value)), sizeof(value));
}

static void set_timer(void *self, void *arg)
{
    const struct recorder *recorder = self;
    (void)arg;
    recorder->env->ops->timer_set(recorder->env, 0, recorder->env->ops->now(recorder->env));
}

/* Until it has been called when the model had been told so much. */
static bool await_after(unsigned seen, bool dispatch)
{
    for (unsigned ms = 0; ms < PATIENT_MS; ms++) {
        if (__atomic_load_n(&after.seen, __ATOMIC_SEQ_CST) == seen)
            return true;
        if (dispatch)
            assert_true(ringd_dispatch(rd) >= 0);
        sleep_ms(1);
    }
    return false;
}

static void followed(bool dispatch)
{
    memset(&after, 0, sizeof(after));
    assert_int_equal(ringd_after(rd, on_after, &after), 0);
    assert_int_equal(ringd_map(dev, INDEX, PORT), 0);
    assert_int_equal(dispatch ? ringd_poll_fd(rd) < 0 : ringd_start(rd), 0);
    assert_int_equal(ringd_after(rd, NULL, NULL), -EBUSY);
    (void)ringd_read(dev, DATA, 0, 1); /* of this thread's own */
    ringd_call(dev, look, &(unsigned){0});
    assert_int_equal(after.calls, 0);
    post();
    assert_true(await_after(2, dispatch));
    assert_int_equal(pthread_equal(after.thread, pthread_self()) != 0, dispatch);
    ringd_call(dev, set_timer, NULL);
    assert_true(await_after(3, dispatch));
    ringd_pause(rd);
    assert_int_equal(ringd_after(rd, NULL, NULL), 0);
    ringd_resume(rd);
    unsigned before = after.calls;
    post();
    sleep_ms(SHORT_MS);
    assert_int_equal(dispatch ? ringd_dispatch(rd) < 0 : 0, 0);
    assert_int_equal(after.calls, before);
}

static void after_the_threads_replay(void **state)
{
    (void)state;
    followed(false);
}

static void after_the_callers_replay(void **state)
{
    (void)state;
    followed(true);
}

static uint8_t memory[64];

static void *map(void *ctx, uint64_t gpa, size_t len)
{
    (void)ctx;
    return gpa <= sizeof(memory) && len <= sizeof(memory) - gpa ? memory + gpa : NULL;
}

/* Guest memory by its address reaches the model. */
static void mapped_memory(void **state)
{
    const struct ringd_wiring wiring = {.mem_map = map};
    static struct recorder other;
    struct ringd_dev *with;
    (void)state;
    assert_int_equal(ringd_add(rd, &recorder_ops, &other, &wiring, &with), 0);
    assert_ptr_equal(other.env->ops->mem_map(other.env, 8, 56), memory + 8);
    assert_null(other.env->ops->mem_map(other.env, 8, 57));
    assert_null(rec.env->ops->mem_map(rec.env, 0, 1)); /* which has none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_the_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(while_paused, setup, teardown),
        cmocka_unit_test_setup_teardown(in_the_callers_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(after_the_threads_replay, setup, teardown),
        cmocka_unit_test_setup_teardown(after_the_callers_replay, setup, teardown),
        cmocka_unit_test_setup_teardown(mapped_memory, setup, teardown),
    };
    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
