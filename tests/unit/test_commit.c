/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings from outside and the committed state: killed at any moment, nothing is lost, nothing happens twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tally.h"

#define STATE_BYTES ringd_state_file_bytes(sizeof(struct tally_state))

/* What the owner of the device has. */
static int ring_fd, event_fd, state_fd, notify_fd, irq_fd;
static struct ringd_ring_page *ring;
static struct ringd_state_page *state;

/* And one who consumes, in this process or in a child. */
static struct ringd *rd;
static struct ringd_dev *dev;

static uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int memory_file(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && ((bytes && fallocate(fd, 0, 0, (off_t)bytes)) || fcntl(fd, F_ADD_SEALS, seals)))
        return -1;
    return fd;
}

static int setup(void **unused)
{
    (void)unused;
    ring_fd = memory_file(RINGD_RING_BYTES, F_SEAL_SHRINK | F_SEAL_GROW);
    state_fd = memory_file(STATE_BYTES, F_SEAL_SHRINK | F_SEAL_GROW);
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring = mmap(NULL, RINGD_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    state = mmap(NULL, STATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, state_fd, 0);
    rd = NULL;
    return ring == MAP_FAILED || state == MAP_FAILED ? -1 : 0;
}

static int teardown(void **unused)
{
    (void)unused;
    munmap(ring, RINGD_RING_BYTES);
    munmap(state, STATE_BYTES);
    close(ring_fd);
    close(state_fd);
    close(event_fd);
    close(notify_fd);
    close(irq_fd);
    return 0;
}

/* Copies of the descriptors, which a ringd takes. */
static struct ringd_ring_source source(void)
{
    return (struct ringd_ring_source){
        .ring_fd = dup(ring_fd), .event_fd = dup(event_fd), .state_fd = dup(state_fd), .notify_fd = dup(notify_fd)};
}

static void close_source(const struct ringd_ring_source *from)
{
    close(from->ring_fd);
    close(from->event_fd);
    close(from->state_fd);
    close(from->notify_fd);
}

static int consume_from(const struct ringd_ring_source *from)
{
    struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    struct ringd_wiring wiring = {.irq_fds = &irq_fd};
    int ret = ringd_create(&config, &rd);
    if (ret)
        return ret;
    ret = ringd_add_on_ring(rd, &tally_ops, NULL, &wiring, from, &dev);
    if (!ret)
        ret = ringd_map(dev, TALLY_POSTED, TALLY_PORT);
    if (ret) {
        ringd_destroy(rd);
        rd = NULL;
    }
    return ret;
}

static void consume(void)
{
    struct ringd_ring_source from = source();
    assert_int_equal(consume_from(&from), 0);
}

static void stop_consuming(void)
{
    ringd_stop(rd);
    ringd_destroy(rd);
    rd = NULL;
}

static const struct ringd_state_slot *committed(void)
{
    size_t room = (STATE_BYTES - RINGD_STATE_SLOTS_OFFSET) / 128 * 64;
    uint32_t current = __atomic_load_n(&state->current, __ATOMIC_ACQUIRE);
    assert_in_range(current, 1, 2);
    return (const void *)((const uint8_t *)state + RINGD_STATE_SLOTS_OFFSET + (current - 1) * room);
}

static struct tally_state committed_tally(void)
{
    struct tally_state tally;
    memcpy(&tally, committed() + 1, sizeof(tally));
    return tally;
}

/* As a guest would; false when the ring is full. */
static bool push(uint32_t value)
{
    int ret = ringd_ring_push(ring, TALLY_PORT, 1, &value, sizeof(value));
    assert_true(ret >= 0 || ret == -EAGAIN);
    if (ret == 1) {
        uint64_t one = 1;
        assert_int_equal(write(event_fd, &one, sizeof(one)), sizeof(one));
    }
    return ret >= 0;
}

static uint64_t take_back(int fd)
{
    uint64_t count = 0;
    ssize_t done = read(fd, &count, sizeof(count));
    return done == sizeof(count) ? count : 0;
}

static void test_what_is_committed(void **unused)
{
    (void)unused;
    uint64_t value;
    consume();
    assert_int_equal(committed()->applied, 0);
    for (uint32_t i = 1; i <= 100; i++)
        assert_true(push(i));
    ringd_drain(rd);
    assert_int_equal(committed()->applied, 100);
    assert_int_equal(committed()->first, 100);
    assert_int_equal(ring->first, 100);
    assert_int_equal(committed_tally().last, 100);
    assert_int_equal(committed_tally().wrong, 0);
    assert_int_equal(state->events_published, 1);
    assert_int_equal(state->events[0].value, TALLY_EVERY);
    assert_int_equal(state->output_published, 1);
    assert_int_equal(take_back(notify_fd), 1);
    assert_int_equal(take_back(irq_fd), 1);

    ringd_write(dev, TALLY_SYNC, 0, 4, 1);
    assert_int_equal(committed_tally().accesses, 1);
    assert_int_equal(ringd_read(dev, TALLY_SYNC, 0, 4), 2);
    assert_int_equal(committed_tally().accesses, 2);
    struct ringd_access access = {.slot = 3, .sequence = 9, .region = TALLY_SYNC, .width = 1};
    assert_int_equal(ringd_access(dev, &access, &value), 0);
    assert_int_equal(value, 3);
    assert_int_equal(committed()->results[3].sequence, 9);
    assert_int_equal(committed()->results[3].value, 3);
    assert_int_equal(ringd_access(dev, &access, &value), 0); /* the same once more */
    assert_int_equal(value, 3);
    access.slot = 4;
    assert_int_equal(ringd_access(dev, &access, &value), 0);
    assert_int_equal(value, 4);
    for (unsigned i = 0; i < 5; i++) /* results of long ago are in both slots */
        ringd_write(dev, TALLY_SYNC, 0, 4, 1);
    assert_int_equal(committed()->results[3].value, 3);
    assert_int_equal(committed()->results[4].value, 4);

    struct ringd_access wrong[] = {
        {.slot = RINGD_ACCESS_SLOTS, .region = TALLY_SYNC, .width = 1},
        {.region = 2, .width = 1},
        {.region = UINT32_MAX, .width = 1},
        {.region = TALLY_SYNC, .width = 0},
        {.region = TALLY_SYNC, .width = 9},
        {.region = TALLY_SYNC, .offset = 4, .width = 1},
        {.region = TALLY_SYNC, .offset = 1, .width = 4},
        {.region = TALLY_SYNC, .offset = UINT64_MAX, .width = 1},
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(ringd_access(dev, &wrong[i], &value), -EINVAL);
    ringd_pause(rd);
    assert_true(committed()->frozen_at != UINT64_MAX);
    ringd_reset(rd);
    assert_int_equal(committed_tally().accesses, 0);
    ringd_resume(rd);
    assert_true(committed()->frozen_at == UINT64_MAX);
    stop_consuming();
}

/* The successor in the same process: what the page says of `first` does not count, and nothing happens twice. */
static void test_successor(void **unused)
{
    (void)unused;
    uint64_t value;
    struct ringd_access access = {.slot = 0, .sequence = 1, .region = TALLY_SYNC, .width = 4};
    consume();
    for (uint32_t i = 1; i <= 70; i++)
        assert_true(push(i));
    ringd_drain(rd);
    assert_int_equal(ringd_access(dev, &access, &value), 0);
    stop_consuming();
    for (uint32_t i = 71; i <= 90; i++)
        assert_true(push(i));
    __atomic_store_n(&ring->first, 40, __ATOMIC_RELEASE); /* killed before it gave the last slots back */
    take_back(notify_fd);
    take_back(irq_fd);
    consume();
    assert_int_equal(ring->first, 70);
    assert_int_equal(take_back(notify_fd), 1); /* the predecessor may not have come to it */
    ringd_drain(rd);
    assert_int_equal(committed_tally().last, 90);
    assert_int_equal(committed_tally().wrong, 0);
    assert_int_equal(committed()->applied, 90);
    assert_int_equal(ringd_access(dev, &access, &value), 0);
    assert_int_equal(value, 1);
    access.sequence++;
    assert_int_equal(ringd_access(dev, &access, &value), 0);
    assert_int_equal(value, 2);
    stop_consuming();
}

/* What is written while a device is being removed is left to the successor: no zone is missing on the way. */
static void test_removal_leaves_the_rest(void **unused)
{
    (void)unused;
    consume();
    for (uint32_t i = 1; i <= 50; i++)
        assert_true(push(i));
    ringd_stop(rd);
    for (uint32_t i = 51; i <= 60; i++)
        assert_true(push(i));
    assert_int_equal(ringd_remove(dev), 0);
    ringd_destroy(rd);
    for (uint32_t i = 61; i <= 70; i++)
        assert_true(push(i));
    consume();
    ringd_drain(rd);
    assert_int_equal(committed_tally().last, 70);
    assert_int_equal(committed_tally().wrong, 0);
    stop_consuming();
}

/* Machine time goes on where it stood; a pause is no time. */
static void test_time_goes_on(void **unused)
{
    (void)unused;
    consume();
    uint64_t skew = committed()->clock_skew;
    stop_consuming();
    consume();
    assert_int_equal(committed()->clock_skew, skew);
    ringd_pause(rd);
    uint64_t frozen = committed()->frozen_at;
    assert_true(frozen <= clock_ns() - skew);
    stop_consuming();
    usleep(20000);
    consume();
    assert_true(committed()->clock_skew >= skew + 20000000);
    assert_true(clock_ns() - committed()->clock_skew - frozen < 5000000000u);
    stop_consuming();
}

static void test_events_and_output_are_bounded(void **unused)
{
    (void)unused;
    consume();
    uint32_t next = 1, writes = TALLY_EVERY * (RINGD_STATE_EVENTS + 10);
    while (next <= writes) {
        while (next <= writes && push(next))
            next++;
        ringd_drain(rd);
    }
    assert_int_equal(state->events_published, RINGD_STATE_EVENTS);
    assert_int_equal(committed()->events_lost, 10);
    state->events_seen = state->events_published; /* read at last */
    for (unsigned i = 0; i < TALLY_EVERY; i++)
        assert_true(push(next++));
    ringd_drain(rd);
    assert_int_equal(state->events_published, RINGD_STATE_EVENTS + 1);
    assert_int_equal(state->events[0].value, next - 1);
    assert_int_equal(state->events_lost, 10);
    state->events_seen = 1u << 30; /* more than there ever were */
    state->output_seen = UINT64_MAX;
    for (unsigned i = 0; i < TALLY_EVERY; i++)
        assert_true(push(next++));
    ringd_drain(rd);
    assert_int_equal(committed_tally().wrong, 0);
    stop_consuming();
}

static void refused(struct ringd_ring_source *from, int want)
{
    struct ringd_ring_source copy = *from;
    assert_int_equal(consume_from(from), want);
    close_source(&copy); /* still ours */
    *from = source();
}

static void test_descriptors_are_checked(void **unused)
{
    (void)unused;
    int pipes[2], sealed = F_SEAL_SHRINK | F_SEAL_GROW;
    struct ringd_ring_source from = source();
    const struct {
        size_t bytes;
        int seals;
    } files[] = {{RINGD_RING_BYTES, 0},
                 {RINGD_RING_BYTES, F_SEAL_SHRINK},
                 {RINGD_RING_BYTES, F_SEAL_GROW},
                 {2 * RINGD_RING_BYTES, sealed},
                 {RINGD_RING_BYTES - 1, sealed},
                 {0, sealed},
                 {RINGD_RING_BYTES, sealed | F_SEAL_WRITE}};
    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        close(from.ring_fd);
        from.ring_fd = memory_file(files[i].bytes, files[i].seals);
        assert_true(from.ring_fd >= 0);
        refused(&from, -EINVAL);
    }
    const struct {
        size_t bytes;
        int seals, want;
    } states[] = {{STATE_BYTES, 0, -EINVAL},
                  {STATE_BYTES - 4096, sealed, -ENOSPC},
                  {RINGD_STATE_MOST_BYTES + 4096, sealed, -EINVAL},
                  {100, sealed, -EINVAL}};
    for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        close(from.state_fd);
        from.state_fd = memory_file(states[i].bytes, states[i].seals);
        refused(&from, states[i].want);
    }
    /* Of the right size, but with a hole. */
    const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    assert_int_equal(fallocate(ring_fd, hole, 0, RINGD_RING_BYTES), 0);
    refused(&from, -EINVAL);
    assert_int_equal(fallocate(ring_fd, 0, 0, RINGD_RING_BYTES), 0);
    assert_int_equal(fallocate(state_fd, hole, 4096, 4096), 0);
    refused(&from, -EINVAL);
    assert_int_equal(fallocate(state_fd, 0, 0, (off_t)STATE_BYTES), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    dup2(pipes[1], from.event_fd);
    refused(&from, -EINVAL);
    dup2(pipes[1], from.notify_fd);
    refused(&from, -EINVAL);
    dup2(pipes[1], from.ring_fd);
    refused(&from, -EINVAL);
    dup2(pipes[1], from.state_fd);
    refused(&from, -EINVAL);
    close(from.event_fd); /* KVM's ring has none; a memfd must */
    from.event_fd = -1;
    refused(&from, -EINVAL);
    int irq = irq_fd;
    irq_fd = pipes[1];
    refused(&from, -EINVAL);
    irq_fd = irq;
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(consume_from(&from), 0);
    stop_consuming();
}

/* Whatever stands in the file: refused, or taken without harm, and never read past its end. */
static void test_hostile_state(void **unused)
{
    (void)unused;
    uint8_t *good = malloc(STATE_BYTES);
    unsigned refusals = 0, taken = 0;
    assert_non_null(good);
    consume();
    for (uint32_t i = 1; i <= 10; i++)
        assert_true(push(i));
    stop_consuming();
    memcpy(good, state, STATE_BYTES);
    srand(1);
    for (unsigned round = 0; round < 3000; round++) {
        memcpy(state, good, STATE_BYTES);
        uint8_t *bytes = (uint8_t *)state;
        if (round < 64 * 8) /* the head, each bit */
            bytes[round / 8] ^= (uint8_t)(1u << round % 8);
        else
            for (unsigned i = 0; i < 8; i++)
                bytes[RINGD_STATE_SLOTS_OFFSET + (unsigned)rand() % (STATE_BYTES - RINGD_STATE_SLOTS_OFFSET)] =
                    (uint8_t)rand();
        struct ringd_ring_source from = source();
        int ret = consume_from(&from);
        if (ret) {
            assert_int_equal(ret, -EINVAL);
            close_source(&from);
            assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0); /* nobody else's descriptor has been closed */
            refusals++;
            continue;
        }
        push(11);
        ringd_drain(rd);
        stop_consuming();
        taken++;
    }
    assert_true(refusals > 20);
    assert_true(taken > 20);
    free(good);
}

/* A timer is an operation like any other. */
static void set_timer(void *self, void *arg)
{
    struct tally *tally = self;
    (void)arg;
    tally->env->ops->timer_set(tally->env, 0, tally->env->ops->now(tally->env));
}

static void test_timer_is_committed(void **unused)
{
    (void)unused;
    consume();
    int fd = ringd_poll_fd(rd);
    assert_true(fd >= 0);
    ringd_call(dev, set_timer, NULL);
    struct pollfd due = {.fd = fd, .events = POLLIN};
    for (unsigned i = 0; i < 100 && committed_tally().accesses == 0; i++) {
        poll(&due, 1, 100);
        ringd_dispatch(rd);
    }
    assert_int_equal(committed_tally().accesses, 1);
    stop_consuming();
}

/* ---- killed at each instruction ---- */

#define STEP_WRITES (TALLY_EVERY + 6)

/* What the consumer that is looked at does: batches with an event among them, and an access in between. */
static void work_to_watch(void)
{
    struct ringd_access access = {.slot = 2, .sequence = 1, .region = TALLY_SYNC, .width = 4};
    uint64_t value;
    ringd_drain(rd);
    ringd_access(dev, &access, &value);
    access.sequence = 2;
    access.slot = 1;
    ringd_access(dev, &access, &value);
}

/* On copies of the memory as it is at this moment: whoever takes over now, with more written meanwhile, loses nothing
 * and does nothing twice. */
static void check_successor(void)
{
    int fds[] = {ring_fd, state_fd, event_fd, notify_fd, irq_fd};
    struct ringd_ring_page *ring_before = ring;
    struct ringd_state_page *state_before = state;
    uint32_t pushed = STEP_WRITES;
    setup(NULL);
    memcpy(ring, ring_before, RINGD_RING_BYTES);
    memcpy(state, state_before, STATE_BYTES);
    uint64_t published = state->events_published;
    assert_true(published <= committed()->events); /* nobody is told of what may yet be undone */
    assert_true(published <= 1);
    if (published)
        assert_int_equal(state->events[0].value, TALLY_EVERY);
    while (push(pushed + 1)) /* all slots that have been given back are used anew */
        pushed++;
    consume();
    work_to_watch();
    struct tally_state tally = committed_tally();
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.last, pushed);
    assert_int_equal(committed()->applied, pushed);
    assert_int_equal(tally.accesses, 2);
    assert_int_equal(committed()->results[2].value, 1);
    assert_int_equal(committed()->results[1].value, 2);
    assert_int_equal(state->events_published, pushed / TALLY_EVERY);
    assert_int_equal(state->output_published, pushed / TALLY_EVERY);
    for (unsigned i = 0; i < pushed / TALLY_EVERY; i++)
        assert_int_equal(state->events[i].value, (i + 1) * TALLY_EVERY);
    assert_true(take_back(notify_fd) != 0);
    stop_consuming();
    teardown(NULL);
    ring_fd = fds[0], state_fd = fds[1], event_fd = fds[2], notify_fd = fds[3], irq_fd = fds[4];
    ring = ring_before;
    state = state_before;
}

static void test_killed_at_each_instruction(void **unused)
{
    (void)unused;
    static uint8_t seen[RINGD_RING_BYTES + 65536];
    int status;
    unsigned steps = 0, changes = 0;
    if (getenv("RINGVMM_VALGRIND"))
        skip(); /* it has no single steps to offer */
    for (uint32_t i = 1; i <= STEP_WRITES; i++)
        assert_true(push(i));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
            _exit(77);
        consume();
        raise(SIGSTOP);
        work_to_watch();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_true(WIFSTOPPED(status));
    assert_true(STATE_BYTES <= 65536);
    for (;;) {
        if (memcmp(seen, ring, RINGD_RING_BYTES) || memcmp(seen + RINGD_RING_BYTES, state, STATE_BYTES)) {
            memcpy(seen, ring, RINGD_RING_BYTES);
            memcpy(seen + RINGD_RING_BYTES, state, STATE_BYTES);
            check_successor();
            changes++;
        }
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSTOPPED(status))
            break;
        steps++;
    }
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(committed()->applied, STEP_WRITES);
    print_message("%u instructions, %u of them changed the memory\n", steps, changes);
    assert_true(changes > 20);
}

/* ---- killed at random moments ---- */

/* One synchronous access at a time, in memory shared with the child: it is written by the parent until `request` shows
 * its number, and answered when `done` does. */
struct letterbox {
    uint64_t request, done, value;
};

static struct letterbox *box;

static void child(void)
{
    consume();
    int fd = ringd_poll_fd(rd);
    if (fd < 0)
        _exit(1);
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t request = __atomic_load_n(&box->request, __ATOMIC_ACQUIRE), value;
        if (request != __atomic_load_n(&box->done, __ATOMIC_RELAXED)) {
            struct ringd_access access = {.slot = 5, .sequence = request, .region = TALLY_SYNC, .width = 4};
            access.write = request % 3 == 0;
            if (ringd_access(dev, &access, &value))
                _exit(1);
            box->value = value;
            __atomic_store_n(&box->done, request, __ATOMIC_RELEASE);
        }
        if (poll(&ready, 1, 0) < 0 || ringd_dispatch(rd) < 0)
            _exit(1);
    }
}

static uint64_t events_read, output_read;

/* As the owner: each event once, in order. */
static void read_events(void)
{
    uint64_t published = __atomic_load_n(&state->events_published, __ATOMIC_ACQUIRE);
    for (; events_read < published; events_read++)
        assert_int_equal(state->events[events_read % RINGD_STATE_EVENTS].value,
                         (uint32_t)((events_read + 1) * TALLY_EVERY));
    __atomic_store_n(&state->events_seen, events_read, __ATOMIC_RELEASE);
    published = __atomic_load_n(&state->output_published, __ATOMIC_ACQUIRE);
    for (; output_read < published; output_read++)
        assert_int_equal(state->output[output_read % RINGD_STATE_OUTPUT_BYTES], (uint8_t)(output_read + 1));
    __atomic_store_n(&state->output_seen, output_read, __ATOMIC_RELEASE);
}

static pid_t start_child(void)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child();
    return pid;
}

static void kill_child(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_killed_at_any_moment(void **unused)
{
    (void)unused;
    const char *wanted = getenv("RINGVMM_TEST_SECONDS");
    uint64_t end = clock_ns() + (wanted ? strtoull(wanted, NULL, 10) : 3) * 1000000000u, next_kill = 0;
    uint32_t pushed = 0;
    unsigned kills = 0;
    uint64_t accesses = 0;
    box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(box != MAP_FAILED);
    events_read = output_read = 0;
    srand((unsigned)clock_ns());
    pid_t pid = start_child();
    for (uint64_t now = clock_ns(); now < end; now = clock_ns()) {
        while (push(pushed + 1))
            pushed++;
        uint64_t request = __atomic_load_n(&box->request, __ATOMIC_RELAXED);
        if (__atomic_load_n(&box->done, __ATOMIC_ACQUIRE) == request) {
            if (request && request % 3)
                assert_int_equal(box->value, request); /* how many accesses there have been */
            accesses = request;
            __atomic_store_n(&box->request, request + 1, __ATOMIC_RELEASE);
        }
        read_events();
        if (now >= next_kill && next_kill) {
            kill_child(pid);
            kills++;
            pid = start_child();
        }
        if (now >= next_kill)
            next_kill = now + 200000 + (uint64_t)rand() % 8000000;
        sched_yield();
    }
    for (end = clock_ns() + 20000000000u; clock_ns() < end; usleep(100)) {
        read_events();
        if (committed()->applied == pushed && __atomic_load_n(&box->done, __ATOMIC_ACQUIRE) == box->request)
            break;
    }
    kill_child(pid);
    read_events();
    struct tally_state tally = committed_tally();
    assert_int_equal(tally.wrong, 0);
    assert_int_equal(tally.last, pushed);
    assert_int_equal(committed()->applied, pushed);
    assert_int_equal(tally.accesses, box->done);
    assert_true(box->done >= accesses);
    assert_int_equal(events_read, pushed / TALLY_EVERY);
    assert_int_equal(output_read, pushed / TALLY_EVERY);
    assert_int_equal(committed()->events_lost, 0);
    assert_true(kills > 5);
    print_message("%u kills, %u writes, %llu accesses\n", kills, pushed, (unsigned long long)box->done);
    munmap(box, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removal_leaves_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events_and_output_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_timer_is_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_each_instruction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_at_any_moment, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
