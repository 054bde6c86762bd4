/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libringd on a real VM: vCPU threads post to test models and exit to them while the ring thread replays. What a model
 * was given is compared with what its guests wrote: all of it, once, in each vCPU's order, and never another device's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hosted.h"

#define PORT_A 0x300u
#define PORT_B 0x310u

#define STREAM_WRITES 30000u
#define HELD_WRITES   100u /* fewer than a ring holds: Linux before 6.12 may call it full at 85 */

static enum ringd_backend_kind backend_kind;

/* ---- the model: one posted register of four bytes, and one that is read ---- */

enum { REGION_POSTED, REGION_SYNC };

/* The lock orders a look from outside against a write that a guest's progress, not a lock, puts behind it. */
struct recorder {
    pthread_mutex_t lock;
    uint64_t count;
    uint32_t next[GUEST_MAX_VCPUS]; /* of each vCPU's numbers, which stand above its own in a value */
    uint64_t out_of_order, foreign;
    unsigned only; /* vCPU that alone may write here, or GUEST_MAX_VCPUS */
    uint64_t resets, pauses, resumes;
};

static int recorder_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    memcpy(self, config, sizeof(*self)); /* the test owns it: config points to its address */
    return 0;
}

static void recorder_destroy(void *self)
{
    (void)self;
}

/* A value: the vCPU in bits 31:28, its running number below. */
static void record_numbered(struct recorder *r, uint32_t value)
{
    unsigned vcpu = value >> 28;
    uint32_t number = value & 0x0fffffff;
    if (vcpu >= GUEST_MAX_VCPUS || (r->only < GUEST_MAX_VCPUS && vcpu != r->only)) {
        r->foreign++;
        return;
    }
    r->out_of_order += number != r->next[vcpu];
    r->next[vcpu] = number + 1;
}

static void recorder_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct recorder *r = self;
    (void)region;
    pthread_mutex_lock(&r->lock);
    r->foreign += offset != 0 || width != 4;
    record_numbered(r, (uint32_t)value);
    r->count++;
    pthread_mutex_unlock(&r->lock);
}

static uint64_t recorder_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    struct recorder *r = self;
    (void)region;
    (void)offset;
    (void)width;
    return r->count;
}

static void recorder_reset(void *self)
{
    struct recorder *r = self;
    r->resets++;
}

static void recorder_pause(void *self)
{
    struct recorder *r = self;
    r->pauses++;
}

static void recorder_resume(void *self)
{
    struct recorder *r = self;
    r->resumes++;
}

static const struct ringd_region recorder_regions[] = {
    [REGION_POSTED] = {.name = "posted", .space = RINGD_PIO, .size = 4, .widths = 4, .flags = RINGD_POSTED},
    [REGION_SYNC] = {.name = "sync", .space = RINGD_PIO, .offset = 4, .size = 4, .widths = 4},
};

static const struct ringd_device_ops recorder_ops = {
    .name = "recorder",
    .summary = "remembers what was written",
    .regions = recorder_regions,
    .region_count = sizeof(recorder_regions) / sizeof(recorder_regions[0]),
    .create = recorder_create,
    .destroy = recorder_destroy,
    .read = recorder_read,
    .write = recorder_write,
    .reset = recorder_reset,
    .pause = recorder_pause,
    .resume = recorder_resume,
};

/* ---- the guests; DX is the posted port throughout ---- */

/* ECX numbers from EAX on, as fast as it can. */
GUEST_ASM(stream, "1: outl %eax, %dx\n"
                  "incl %eax\n"
                  "decl %ecx\n"
                  "jnz 1b\n" GUEST_ASM_END);

/* The same, and after each 16 numbers a read of the synchronous register at DX + 4, which must count all of them: BX
 * numbers fewer than it ought to at any time are an error, counted in ESI. For one vCPU alone on its device. */
GUEST_ASM(stream_and_read, "xorl %ebx, %ebx\n"
                           "xorl %esi, %esi\n"
                           "1: outl %eax, %dx\n"
                           "incl %eax\n"
                           "incl %ebx\n"
                           "testb $15, %bl\n"
                           "jnz 2f\n"
                           "movl %eax, %edi\n"
                           "addw $4, %dx\n"
                           "inl %dx, %eax\n"
                           "subw $4, %dx\n"
                           "cmpl %eax, %ebx\n"
                           "je 3f\n"
                           "incl %esi\n"
                           "3: movl %edi, %eax\n"
                           "2: decl %ecx\n"
                           "jnz 1b\n"
                           "movl %esi, 0xd000\n" GUEST_ASM_END);

/* ECX numbers, a note in memory that they are written, and then a wait in memory for leave to go on with one more. */
GUEST_ASM(held, "1: outl %eax, %dx\n"
                "incl %eax\n"
                "decl %ecx\n"
                "jnz 1b\n"
                "movb $1, 0xd000\n"
                "2: pause\n"
                "cmpb $2, 0xd000\n"
                "jne 2b\n"
                "outl %eax, %dx\n" GUEST_ASM_END);

static void add_recorder(struct hosted *m, struct recorder *recorder, uint64_t port)
{
    hosted_add(m, &recorder_ops, &recorder, port);
}

/* What the statistics say must fit what the models saw. */
static void assert_rings(struct hosted *m, uint64_t written)
{
    struct ringd_ring_stats stats;
    uint64_t entries = 0, full = 0;
    for (unsigned i = 0; i < ringd_ring_count(m->rd); i++) {
        assert_int_equal(ringd_ring_stats(m->rd, i, &stats), 0);
        assert_int_equal(stats.bad, 0);
        entries += stats.entries;
        full += stats.full_exits;
    }
    assert_int_equal(entries + full, written);
    assert_int_equal(m->strays, 0);
}

/* What a model was given, when that is not what was written: which numbers, and what the rings say. */
static void assert_count(struct hosted *m, const struct recorder *r, uint64_t written)
{
    if (r->count == written && !r->out_of_order && !r->foreign)
        return;
    fprintf(stderr, "%llu of %llu writes arrived, %llu out of order, %llu foreign; next numbers",
            (unsigned long long)r->count, (unsigned long long)written, (unsigned long long)r->out_of_order,
            (unsigned long long)r->foreign);
    for (unsigned i = 0; i < GUEST_MAX_VCPUS; i++)
        fprintf(stderr, " %u", r->next[i]);
    for (unsigned i = 0; i < ringd_ring_count(m->rd); i++) {
        struct ringd_ring_stats s;
        (void)ringd_ring_stats(m->rd, i, &s);
        fprintf(stderr, "; ring %s: %llu entries (%llu by vCPUs), %llu full, %llu bad", s.name,
                (unsigned long long)s.entries, (unsigned long long)s.entries_vcpu, (unsigned long long)s.full_exits,
                (unsigned long long)s.bad);
    }
    fprintf(stderr, "; %llu strays\n", (unsigned long long)m->strays);
    assert_int_equal(r->count, written);
    assert_int_equal(r->out_of_order, 0);
    assert_int_equal(r->foreign, 0);
}

static uint64_t number(unsigned vcpu)
{
    return (uint64_t)vcpu << 28;
}

/* ---- two vCPUs ---- */

static void test_one_ring(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    hosted_create(&m, backend_kind, 2, 0);
    add_recorder(&m, &r, PORT_A);
    assert_int_equal(ringd_start(m.rd), 0);
    for (unsigned i = 0; i < 2; i++)
        HOSTED_START(&m, i, stream, .rax = number(i), .rcx = STREAM_WRITES, .rdx = PORT_A);
    for (unsigned i = 0; i < 2; i++)
        hosted_join(&m, i);
    ringd_drain(m.rd);
    assert_count(&m, &r, 2 * STREAM_WRITES);
    assert_int_equal(r.next[0], STREAM_WRITES);
    assert_int_equal(r.next[1], STREAM_WRITES);
    assert_rings(&m, 2 * STREAM_WRITES);
    hosted_destroy(&m);
}

static void test_two_devices(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER, .only = 0},
                            {.lock = PTHREAD_MUTEX_INITIALIZER, .only = 1}};
    hosted_create(&m, backend_kind, 2, 0);
    add_recorder(&m, &r[0], PORT_A);
    add_recorder(&m, &r[1], PORT_B);
    assert_int_equal(ringd_ring_count(m.rd), backend_find(backend_kind)->shared ? 1 : 2);
    assert_int_equal(ringd_start(m.rd), 0);
    HOSTED_START(&m, 0, stream, .rax = number(0), .rcx = STREAM_WRITES, .rdx = PORT_A);
    HOSTED_START(&m, 1, stream, .rax = number(1), .rcx = STREAM_WRITES, .rdx = PORT_B);
    for (unsigned i = 0; i < 2; i++)
        hosted_join(&m, i);
    ringd_drain(m.rd);
    for (unsigned i = 0; i < 2; i++) {
        assert_count(&m, &r[i], STREAM_WRITES);
        assert_int_equal(r[i].next[i], STREAM_WRITES);
    }
    assert_rings(&m, 2 * STREAM_WRITES);
    hosted_destroy(&m);
}

/* A read finds all that its vCPU posted before, while another vCPU keeps the ring thread and the other device busy. */
static void test_reads_see_posted_writes(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER, .only = 0},
                            {.lock = PTHREAD_MUTEX_INITIALIZER, .only = 1}};
    hosted_create(&m, backend_kind, 2, 0);
    add_recorder(&m, &r[0], PORT_A);
    add_recorder(&m, &r[1], PORT_B);
    assert_int_equal(ringd_start(m.rd), 0);
    HOSTED_START(&m, 0, stream_and_read, .rax = number(0), .rcx = STREAM_WRITES, .rdx = PORT_A);
    HOSTED_START(&m, 1, stream, .rax = number(1), .rcx = STREAM_WRITES, .rdx = PORT_B);
    for (unsigned i = 0; i < 2; i++)
        hosted_join(&m, i);
    ringd_drain(m.rd);
    uint32_t wrong;
    memcpy(&wrong, m.guest.memory + GUEST_DATA, sizeof(wrong));
    assert_int_equal(wrong, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_count(&m, &r[i], STREAM_WRITES);
    }
    assert_rings(&m, 2 * STREAM_WRITES);
    hosted_destroy(&m);
}

/* ---- drain, pause, unmap ---- */

static void wait_for_note(struct hosted *m)
{
    while (__atomic_load_n(&m->guest.memory[GUEST_DATA], __ATOMIC_ACQUIRE) != 1)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void let_go(struct hosted *m)
{
    __atomic_store_n(&m->guest.memory[GUEST_DATA], 2, __ATOMIC_RELEASE);
}

/* Without the ring thread, so that the ring is full of what the guest wrote until somebody drains it. */
static void start_held(struct hosted *m, struct recorder *r)
{
    hosted_create(m, backend_kind, 1, 0);
    add_recorder(m, r, PORT_A);
    HOSTED_START(m, 0, held, .rax = number(0), .rcx = HELD_WRITES, .rdx = PORT_A);
    wait_for_note(m);
}

static void assert_all_but_the_last(struct recorder *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t count = r->count, out_of_order = r->out_of_order;
    uint32_t next = r->next[0];
    pthread_mutex_unlock(&r->lock);
    assert_int_equal(count, HELD_WRITES);
    assert_int_equal(out_of_order, 0);
    assert_int_equal(next, HELD_WRITES);
}

static void end_held(struct hosted *m, const struct recorder *r)
{
    let_go(m);
    hosted_join(m, 0);
    ringd_drain(m->rd);
    assert_int_equal(r->count, HELD_WRITES + 1);
    assert_int_equal(r->out_of_order, 0);
    assert_rings(m, HELD_WRITES + 1);
    hosted_destroy(m);
}

static void test_drain(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    start_held(&m, &r);
    pthread_mutex_lock(&r.lock);
    uint64_t before = r.count; /* some, where this kernel called the ring full early */
    pthread_mutex_unlock(&r.lock);
    assert_true(before < HELD_WRITES);
    ringd_drain(m.rd); /* the guest still runs */
    assert_all_but_the_last(&r);
    end_held(&m, &r);
}

static void test_pause(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    start_held(&m, &r);
    ringd_pause(m.rd);
    assert_all_but_the_last(&r);
    assert_int_equal(r.pauses, 1);
    ringd_reset(m.rd);
    assert_int_equal(r.resets, 1);
    assert_all_but_the_last(&r);
    ringd_resume(m.rd);
    assert_int_equal(r.resumes, 1);
    end_held(&m, &r);
}

/* The same with the ring thread at work; what it has not yet replayed, the pause has. */
static void test_pause_running(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    hosted_create(&m, backend_kind, 1, 1000000000); /* a bound of 1 s: v1's ring is as the guest left it */
    add_recorder(&m, &r, PORT_A);
    assert_int_equal(ringd_start(m.rd), 0);
    HOSTED_START(&m, 0, held, .rax = number(0), .rcx = HELD_WRITES, .rdx = PORT_A);
    wait_for_note(&m);
    ringd_pause(m.rd);
    assert_all_but_the_last(&r);
    ringd_resume(m.rd);
    end_held(&m, &r);
}

static void test_unmap(void **state)
{
    (void)state;
    struct hosted m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    start_held(&m, &r);
    assert_int_equal(ringd_unmap(m.devices[0], REGION_POSTED), 0);
    assert_all_but_the_last(&r);
    let_go(&m); /* its last write is an exit now, for the same device */
    hosted_join(&m, 0);
    assert_int_equal(m.guest.vcpus[0].exits, 2);
    assert_int_equal(r.count, HELD_WRITES + 1);
    assert_int_equal(r.out_of_order, 0);
    hosted_destroy(&m);
}

int main(void)
{
    backend_kind = guest_backend();
    alarm(110); /* a guest that never comes back ends the test, not the machine */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_ring),
        cmocka_unit_test(test_two_devices),
        cmocka_unit_test(test_reads_see_posted_writes),

        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pause_running),
        cmocka_unit_test(test_unmap),
    };
    return cmocka_run_group_tests_name("vcpus", tests, NULL, NULL);
}
