/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libringd on a real VM: vCPU threads post to test models and exit to them while the ring thread replays. What a model
 * was given is compared with what its guests wrote: all of it, once, in each vCPU's order; never another device's; and
 * within the bound although nobody exits.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cmocka.h>

#include "guest.h"
#include "ringd/cycles.h"

#define PORT_A 0x300u
#define PORT_B 0x310u

#define STREAM_WRITES 30000u
#define PACED_WRITES  1500u
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
    /* Time stamps: when it takes part in the test of the bound. */
    int64_t tsc_offset;
    uint32_t *ages; /* in cycles, [PACED_WRITES] */
    unsigned stamps, voids;
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

static void record_stamp(struct recorder *r, uint32_t value)
{
    if (value == 0 && r->stamps) {
        r->ages[r->stamps - 1] = 0;
        r->voids++;
    } else if (r->stamps < PACED_WRITES) {
        r->ages[r->stamps] = (uint32_t)((int64_t)__rdtsc() - r->tsc_offset) - value;
        __atomic_store_n(&r->stamps, r->stamps + 1, __ATOMIC_RELEASE);
    }
}

static void recorder_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct recorder *r = self;
    (void)region;
    pthread_mutex_lock(&r->lock);
    r->foreign += offset != 0 || width != 4;
    if (r->ages)
        record_stamp(r, (uint32_t)value);
    else
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

/* ECX time stamps to port DI, EBP cycles apart. A zero says that the stamp before it is void: more than ESI cycles went
 * by before its write was over, so the vCPU itself stood still. */
GUEST_ASM(paced, "1: rdtsc\n"
                 "movl %eax, %ebx\n"
                 "movw %di, %dx\n"
                 "outl %eax, %dx\n"
                 "rdtsc\n"
                 "subl %ebx, %eax\n"
                 "cmpl %esi, %eax\n"
                 "jb 2f\n"
                 "xorl %eax, %eax\n"
                 "movw %di, %dx\n"
                 "outl %eax, %dx\n"
                 "2: pause\n"
                 "rdtsc\n"
                 "subl %ebx, %eax\n"
                 "cmpl %ebp, %eax\n"
                 "jb 2b\n"
                 "decl %ecx\n"
                 "jnz 1b\n" GUEST_ASM_END);

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

/* ---- a VM with devices and vCPU threads ---- */

struct target {
    uint64_t port;
    struct ringd_dev *dev;
};

struct machine {
    struct guest guest;
    struct ringd *rd;
    struct target targets[2];
    unsigned target_count;
    pthread_t threads[GUEST_MAX_VCPUS];
    uint64_t strays; /* accesses that belong to no target; atomic */
};

struct vcpu_arg {
    struct machine *machine;
    struct guest_vcpu *vcpu;
};

static void machine_create(struct machine *m, unsigned vcpus, uint64_t max_replay_latency_ns)
{
    *m = (struct machine){0};
    guest_create(&m->guest, vcpus);
    struct ringd_config config = {.backend = backend_kind,
                                  .vm_fd = m->guest.vm,
                                  .vcpu_fd = m->guest.vcpus[0].fd,
                                  .max_replay_latency_ns = max_replay_latency_ns,
                                  .cpu = -1};
    assert_int_equal(ringd_create(&config, &m->rd), 0);
}

static void machine_destroy(struct machine *m)
{
    ringd_stop(m->rd);
    ringd_destroy(m->rd);
    guest_destroy(&m->guest);
}

static struct ringd_dev *add(struct machine *m, struct recorder *recorder, uint64_t port)
{
    struct ringd_dev *dev;
    assert_int_equal(ringd_add(m->rd, &recorder_ops, &recorder, NULL, &dev), 0);
    assert_int_equal(ringd_map(dev, REGION_POSTED, port), 0);
    assert_int_equal(ringd_map(dev, REGION_SYNC, port + 4), 0);
    m->targets[m->target_count++] = (struct target){port, dev};
    return dev;
}

static void dispatch(struct machine *m, const struct guest_exit *exit)
{
    for (unsigned i = 0; i < m->target_count; i++) {
        uint64_t offset = exit->write.addr - m->targets[i].port;
        if (!exit->write.pio || offset >= 8)
            continue;
        unsigned region = offset < 4 ? REGION_POSTED : REGION_SYNC;
        if (exit->is_write) {
            ringd_write(m->targets[i].dev, region, offset % 4, exit->write.width, exit->write.value);
        } else {
            uint64_t value = ringd_read(m->targets[i].dev, region, offset % 4, exit->write.width);
            memcpy(exit->data, &value, exit->write.width);
        }
        return;
    }
    __atomic_fetch_add(&m->strays, 1, __ATOMIC_RELAXED);
}

static void *vcpu_thread(void *arg)
{
    struct vcpu_arg *a = arg;
    struct guest_exit exit;
    while (!(exit = guest_run(a->vcpu)).end)
        dispatch(a->machine, &exit);
    free(a);
    return NULL;
}

static void start(struct machine *m, unsigned vcpu, const uint8_t *code, const uint8_t *end,
                  const struct kvm_regs *regs)
{
    struct vcpu_arg *arg = malloc(sizeof(*arg));
    assert_non_null(arg);
    *arg = (struct vcpu_arg){m, &m->guest.vcpus[vcpu]};
    guest_load(&m->guest, vcpu, code, (size_t)(end - code), regs);
    assert_int_equal(pthread_create(&m->threads[vcpu], NULL, vcpu_thread, arg), 0);
}

#define START(m, vcpu, guest, ...) start(m, vcpu, guest, guest##_end, &(struct kvm_regs){__VA_ARGS__})

static void join(struct machine *m, unsigned vcpu)
{
    assert_int_equal(pthread_join(m->threads[vcpu], NULL), 0);
}

/* What the statistics say must fit what the models saw. */
static void assert_rings(struct machine *m, uint64_t written)
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

static uint64_t number(unsigned vcpu)
{
    return (uint64_t)vcpu << 28;
}

/* ---- two vCPUs ---- */

static void test_one_ring(void **state)
{
    (void)state;
    struct machine m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    machine_create(&m, 2, 0);
    add(&m, &r, PORT_A);
    assert_int_equal(ringd_start(m.rd), 0);
    for (unsigned i = 0; i < 2; i++)
        START(&m, i, stream, .rax = number(i), .rcx = STREAM_WRITES, .rdx = PORT_A);
    for (unsigned i = 0; i < 2; i++)
        join(&m, i);
    ringd_drain(m.rd);
    assert_int_equal(r.count, 2 * STREAM_WRITES);
    assert_int_equal(r.out_of_order, 0);
    assert_int_equal(r.foreign, 0);
    assert_int_equal(r.next[0], STREAM_WRITES);
    assert_int_equal(r.next[1], STREAM_WRITES);
    assert_rings(&m, 2 * STREAM_WRITES);
    machine_destroy(&m);
}

static void test_two_devices(void **state)
{
    (void)state;
    struct machine m;
    struct recorder r[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER, .only = 0},
                            {.lock = PTHREAD_MUTEX_INITIALIZER, .only = 1}};
    machine_create(&m, 2, 0);
    add(&m, &r[0], PORT_A);
    add(&m, &r[1], PORT_B);
    assert_int_equal(ringd_ring_count(m.rd), backend_find(backend_kind)->shared ? 1 : 2);
    assert_int_equal(ringd_start(m.rd), 0);
    START(&m, 0, stream, .rax = number(0), .rcx = STREAM_WRITES, .rdx = PORT_A);
    START(&m, 1, stream, .rax = number(1), .rcx = STREAM_WRITES, .rdx = PORT_B);
    for (unsigned i = 0; i < 2; i++)
        join(&m, i);
    ringd_drain(m.rd);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(r[i].count, STREAM_WRITES);
        assert_int_equal(r[i].out_of_order, 0);
        assert_int_equal(r[i].foreign, 0);
        assert_int_equal(r[i].next[i], STREAM_WRITES);
    }
    assert_rings(&m, 2 * STREAM_WRITES);
    machine_destroy(&m);
}

/* A read finds all that its vCPU posted before, while another vCPU keeps the ring thread and the other device busy. */
static void test_reads_see_posted_writes(void **state)
{
    (void)state;
    struct machine m;
    struct recorder r[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER, .only = 0},
                            {.lock = PTHREAD_MUTEX_INITIALIZER, .only = 1}};
    machine_create(&m, 2, 0);
    add(&m, &r[0], PORT_A);
    add(&m, &r[1], PORT_B);
    assert_int_equal(ringd_start(m.rd), 0);
    START(&m, 0, stream_and_read, .rax = number(0), .rcx = STREAM_WRITES, .rdx = PORT_A);
    START(&m, 1, stream, .rax = number(1), .rcx = STREAM_WRITES, .rdx = PORT_B);
    for (unsigned i = 0; i < 2; i++)
        join(&m, i);
    ringd_drain(m.rd);
    uint32_t wrong;
    memcpy(&wrong, m.guest.memory + GUEST_DATA, sizeof(wrong));
    assert_int_equal(wrong, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(r[i].count, STREAM_WRITES);
        assert_int_equal(r[i].out_of_order, 0);
        assert_int_equal(r[i].foreign, 0);
    }
    assert_rings(&m, 2 * STREAM_WRITES);
    machine_destroy(&m);
}

/* ---- the bound ---- */

/* How much longer than asked for each of this host's CPUs lets a sleeping thread sleep: no bound can be better. */
struct sleeper {
    pthread_t thread;
    unsigned cpu;
    bool stop;
    uint64_t worst_ns;
};

static void *sleep_and_measure(void *arg)
{
    struct sleeper *s = arg;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(s->cpu, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        uint64_t before = monotonic_ns();
        nanosleep(&(struct timespec){.tv_nsec = RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS}, NULL);
        uint64_t late = monotonic_ns() - before - RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS;
        s->worst_ns = late > s->worst_ns ? late : s->worst_ns;
    }
    return NULL;
}

#define MAX_SLEEPERS 16u

struct sleepers {
    struct sleeper all[MAX_SLEEPERS];
    unsigned count;
};

static void sleepers_start(struct sleepers *s)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && s->count < MAX_SLEEPERS; cpu++) {
        struct sleeper *sleeper = &s->all[s->count];
        if (!CPU_ISSET(cpu, &set))
            continue;
        sleeper->cpu = cpu;
        assert_int_equal(pthread_create(&sleeper->thread, NULL, sleep_and_measure, sleeper), 0);
        s->count++;
    }
}

static uint64_t sleepers_stop(struct sleepers *s)
{
    uint64_t worst = 0;
    for (unsigned i = 0; i < s->count; i++) {
        __atomic_store_n(&s->all[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(s->all[i].thread, NULL);
        worst = s->all[i].worst_ns > worst ? s->all[i].worst_ns : worst;
    }
    return worst;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* A guest's write counts as undisturbed when it took less than this. */
#define WRITE_TIME_NS 200000u

static void print_ages(const struct recorder *r, double ns_per_cycle, uint64_t bound_ns, uint64_t pace_ns,
                       uint64_t host_ns)
{
    print_message(
        "bound %llu us, a write each %llu us: p50 %.0f, p90 %.0f, p99 %.0f, max %.0f us (%u void); the host's "
        "own lateness %llu us\n",
        (unsigned long long)bound_ns / 1000, (unsigned long long)pace_ns / 1000,
        r->ages[r->stamps / 2] * ns_per_cycle / 1000, r->ages[r->stamps * 9 / 10] * ns_per_cycle / 1000,
        r->ages[r->stamps * 99 / 100] * ns_per_cycle / 1000, r->ages[r->stamps - 1] * ns_per_cycle / 1000, r->voids,
        (unsigned long long)host_ns / 1000);
}

static void check_bound(uint64_t bound_ns, uint64_t pace_ns)
{
    static uint32_t ages[PACED_WRITES];
    struct machine m;
    uint64_t before_error, after_error;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .ages = ages};
    struct cycles_base base = cycles_base();
    struct sleepers sleepers = {0};
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double ns_per_cycle = cycles_to_ns(&base);

    machine_create(&m, 1, bound_ns);
    r.tsc_offset = guest_tsc_offset(&m.guest.vcpus[0], &before_error);
    add(&m, &r, PORT_A);
    assert_int_equal(ringd_start(m.rd), 0);
    sleepers_start(&sleepers);
    START(&m, 0, paced, .rcx = PACED_WRITES, .rdi = PORT_A, .rbp = (uint64_t)((double)pace_ns / ns_per_cycle),
          .rsi = (uint64_t)(WRITE_TIME_NS / ns_per_cycle));
    join(&m, 0);
    for (unsigned i = 0; i < 1000 && __atomic_load_n(&r.stamps, __ATOMIC_ACQUIRE) < PACED_WRITES; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the ring thread's work alone: nothing drains here */
    assert_int_equal(__atomic_load_n(&r.stamps, __ATOMIC_ACQUIRE), PACED_WRITES);
    uint64_t host_ns = sleepers_stop(&sleepers);
    int64_t drift = guest_tsc_offset(&m.guest.vcpus[0], &after_error) - r.tsc_offset;
    assert_int_equal(m.guest.vcpus[0].exits, 1); /* its end: nobody exited */
    ringd_stop(m.rd);                            /* the model is ours from here */

    uint64_t error = before_error + after_error;
    if ((uint64_t)llabs(drift) > error)
        fail_msg("the guest's TSC ran away by %lld cycles", (long long)drift);
    qsort(ages, PACED_WRITES, sizeof(ages[0]), compare);
    print_ages(&r, ns_per_cycle, bound_ns, pace_ns, host_ns);
    assert_true(r.voids < PACED_WRITES / 10);
    /* The ring thread may meet the host's lateness when it sleeps, and once more when it loses its CPU at work. */
    uint64_t slack = 2 * host_ns + WRITE_TIME_NS + (uint64_t)((double)error * ns_per_cycle);
    assert_true(ages[PACED_WRITES / 2] * ns_per_cycle <= (double)(bound_ns + WRITE_TIME_NS));
    assert_true(ages[PACED_WRITES - 1] * ns_per_cycle <= (double)(bound_ns + slack));
    machine_destroy(&m);
}

static void test_bound(void **state)
{
    (void)state;
    check_bound(RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS, 1000000); /* 1 kHz: each write finds the ring empty */
    check_bound(RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS, 300000);
    check_bound(5000000, 300000); /* a bound of its own */
}

/* ---- drain, pause, unmap ---- */

static void wait_for_note(struct machine *m)
{
    while (__atomic_load_n(&m->guest.memory[GUEST_DATA], __ATOMIC_ACQUIRE) != 1)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void let_go(struct machine *m)
{
    __atomic_store_n(&m->guest.memory[GUEST_DATA], 2, __ATOMIC_RELEASE);
}

/* Without the ring thread, so that the ring is full of what the guest wrote until somebody drains it. */
static void start_held(struct machine *m, struct recorder *r)
{
    machine_create(m, 1, 0);
    add(m, r, PORT_A);
    START(m, 0, held, .rax = number(0), .rcx = HELD_WRITES, .rdx = PORT_A);
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

static void end_held(struct machine *m, const struct recorder *r)
{
    let_go(m);
    join(m, 0);
    ringd_drain(m->rd);
    assert_int_equal(r->count, HELD_WRITES + 1);
    assert_int_equal(r->out_of_order, 0);
    assert_rings(m, HELD_WRITES + 1);
    machine_destroy(m);
}

static void test_drain(void **state)
{
    (void)state;
    struct machine m;
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
    struct machine m;
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
    struct machine m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    machine_create(&m, 1, 1000000000); /* a bound of 1 s: v1's ring is as the guest left it */
    add(&m, &r, PORT_A);
    assert_int_equal(ringd_start(m.rd), 0);
    START(&m, 0, held, .rax = number(0), .rcx = HELD_WRITES, .rdx = PORT_A);
    wait_for_note(&m);
    ringd_pause(m.rd);
    assert_all_but_the_last(&r);
    ringd_resume(m.rd);
    end_held(&m, &r);
}

static void test_unmap(void **state)
{
    (void)state;
    struct machine m;
    struct recorder r = {.lock = PTHREAD_MUTEX_INITIALIZER, .only = GUEST_MAX_VCPUS};
    start_held(&m, &r);
    assert_int_equal(ringd_unmap(m.targets[0].dev, REGION_POSTED), 0);
    assert_all_but_the_last(&r);
    let_go(&m); /* its last write is an exit now, for the same device */
    join(&m, 0);
    assert_int_equal(m.guest.vcpus[0].exits, 2);
    assert_int_equal(r.count, HELD_WRITES + 1);
    assert_int_equal(r.out_of_order, 0);
    machine_destroy(&m);
}

int main(void)
{
    backend_kind = guest_backend();
    alarm(110); /* a guest that never comes back ends the test, not the machine */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_ring),
        cmocka_unit_test(test_two_devices),
        cmocka_unit_test(test_reads_see_posted_writes),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pause_running),
        cmocka_unit_test(test_unmap),
    };
    return cmocka_run_group_tests_name("vcpus", tests, NULL, NULL);
}
