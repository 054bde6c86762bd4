/* SPDX-License-Identifier: BSD-2-Clause */
/* KVM's rings on the caller's own loop: a guest that only writes, and poll() and ringd_dispatch() in place of a thread.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/cycles.h"
#include "hosted.h"

#define PORT    0x300u
#define WRITES  2000u
#define PATIENT UINT64_C(20000000000) /* ns: only a bug takes as long */

static enum ringd_backend_kind backend_kind;

struct sequence {
    unsigned count; /* atomic: a vCPU that finds the ring full writes it, too */
    unsigned wrong;
};

static int sequence_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    *self = *(struct sequence *const *)config; /* the test's own */
    return 0;
}

static void sequence_nothing(void *self)
{
    (void)self;
}

static uint64_t sequence_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    (void)region;
    (void)offset;
    (void)width;
    return ((struct sequence *)self)->count;
}

static void sequence_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct sequence *s = self;
    (void)region;
    (void)offset;
    (void)width;
    s->wrong += value != s->count;
    __atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELEASE);
}

static const struct ringd_region sequence_regions[] = {
    {.name = "number", .space = RINGD_PIO, .size = 4, .widths = 4, .flags = RINGD_POSTED},
};

static const struct ringd_device_ops sequence_ops = {
    .name = "sequence",
    .summary = "expects 0, 1, 2, ...",
    .regions = sequence_regions,
    .region_count = 1,
    .create = sequence_create,
    .destroy = sequence_nothing,
    .read = sequence_read,
    .write = sequence_write,
    .reset = sequence_nothing,
};

/* ECX numbers to port DI from EAX on, ESI pauses apart. */
GUEST_ASM(numbers, "1: movw %di, %dx\n"
                   "outl %eax, %dx\n"
                   "incl %eax\n"
                   "movl %esi, %ebx\n"
                   "2: pause\n"
                   "decl %ebx\n"
                   "jnz 2b\n"
                   "decl %ecx\n"
                   "jnz 1b\n" GUEST_ASM_END);

/* Nothing but the loop replays, unless the ring is full: the guest ends with its last numbers in the ring. */
static void own_loop(void **state)
{
    struct hosted m;
    struct sequence sequence = {0}, *config = &sequence;
    (void)state;
    hosted_create(&m, backend_kind, 1, 0);
    hosted_add(&m, &sequence_ops, &config, PORT);
    struct pollfd fd = {.fd = ringd_poll_fd(m.rd), .events = POLLIN};
    assert_true(fd.fd >= 0);
    HOSTED_START(&m, 0, numbers, .rcx = WRITES, .rdi = PORT, .rsi = 100);
    unsigned idle = 0;
    for (uint64_t end = monotonic_ns() + PATIENT;
         __atomic_load_n(&sequence.count, __ATOMIC_ACQUIRE) < WRITES && monotonic_ns() < end;) {
        if (poll(&fd, 1, 100) == 1)
            idle += ringd_dispatch(m.rd) == 0;
    }
    hosted_join(&m, 0);
    assert_int_equal(sequence.count, WRITES);
    assert_int_equal(sequence.wrong, 0);
    struct ringd_ring_stats stats;
    assert_int_equal(ringd_ring_stats(m.rd, 0, &stats), 0);
    assert_true(stats.entries_vcpu == 0 || stats.full_exits);
    assert_int_equal(stats.entries + stats.full_exits, WRITES);
    assert_true(stats.wakeups + stats.looks > 0 && idle < 10);
    if (backend_kind == RINGD_BACKEND_MMIO2) {
        assert_true(stats.wakeups > 0);
        /* All is quiet: nothing keeps the caller awake. A storm's looks end first. */
        for (unsigned i = 0; i < 20 && poll(&fd, 1, 50) == 1; i++)
            (void)ringd_dispatch(m.rd);
        assert_int_equal(poll(&fd, 1, 50), 0);
    }
    assert_int_equal(m.strays, 0);
    hosted_destroy(&m);
}

int main(void)
{
    backend_kind = guest_backend();
    const struct CMUnitTest tests[] = {cmocka_unit_test(own_loop)};
    return cmocka_run_group_tests_name("own loop", tests, NULL, NULL);
}
