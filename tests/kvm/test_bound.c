/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bound: a guest that writes now and then and never exits has each write replayed within max_replay_latency, on v1
 * too, where nothing notifies. The guest writes its time stamp counter, so the model knows each write's age.
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

#include "common/cycles.h"
#include "hosted.h"

#define PORT         0x300u
#define PACED_WRITES 1500u

static enum ringd_backend_kind backend_kind;

/* ---- the model: one posted register that takes time stamps ---- */

struct stamps {
    int64_t tsc_offset;
    uint32_t *ages; /* in cycles, [PACED_WRITES]; 0: void */
    unsigned count; /* atomic: the test waits for it */
    unsigned voids;
};

static int stamps_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    memcpy(self, config, sizeof(*self)); /* the test owns it: config points to its address */
    return 0;
}

static void stamps_nothing(void *self)
{
    (void)self;
}

static uint64_t stamps_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    (void)self;
    (void)region;
    (void)offset;
    (void)width;
    return 0;
}

static void stamps_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    struct stamps *s = self;
    (void)region;
    (void)offset;
    (void)width;
    if (value == 0 && s->count) {
        s->ages[s->count - 1] = 0;
        s->voids++;
    } else if (s->count < PACED_WRITES) {
        s->ages[s->count] = (uint32_t)((int64_t)__rdtsc() - s->tsc_offset) - (uint32_t)value;
        __atomic_store_n(&s->count, s->count + 1, __ATOMIC_RELEASE);
    }
}

static const struct ringd_region stamps_regions[] = {
    {.name = "stamp", .space = RINGD_PIO, .size = 4, .widths = 4, .flags = RINGD_POSTED},
};

static const struct ringd_device_ops stamps_ops = {
    .name = "stamps",
    .summary = "tells the age of writes",
    .regions = stamps_regions,
    .region_count = 1,
    .create = stamps_create,
    .destroy = stamps_nothing,
    .read = stamps_read,
    .write = stamps_write,
    .reset = stamps_nothing,
};

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

/* ---- what the host can do ---- */

/* How much longer than asked for this host's CPUs let a sleeping thread sleep: no bound can be better. */
struct lateness {
    uint64_t usual_ns; /* half of the time, sleeps were later than this or a little less */
    uint64_t worst_ns;
};

struct sleeper {
    pthread_t thread;
    unsigned cpu;
    bool stop;
    uint64_t worst_ns;
    uint64_t
        time_ns[65]; /* spent in sleeps that were less than 1 << n nanoseconds late, and not less than half of it */
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
        s->time_ns[late ? 64 - __builtin_clzll(late) : 0] += RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS + late;
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

static uint64_t usual_lateness(const struct sleeper *s)
{
    uint64_t all = 0, sum = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < 65; i++)
        all += s->time_ns[i];
    while (n < 63 && (sum += s->time_ns[n]) < all / 2)
        n++;
    return UINT64_C(1) << n;
}

/* The later ones of all CPUs. */
static struct lateness sleepers_stop(struct sleepers *s)
{
    struct lateness late = {0};
    for (unsigned i = 0; i < s->count; i++) {
        __atomic_store_n(&s->all[i].stop, true, __ATOMIC_RELAXED);
        pthread_join(s->all[i].thread, NULL);
        uint64_t usual = usual_lateness(&s->all[i]);
        late.usual_ns = usual > late.usual_ns ? usual : late.usual_ns;
        late.worst_ns = s->all[i].worst_ns > late.worst_ns ? s->all[i].worst_ns : late.worst_ns;
    }
    return late;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* ---- the bound ---- */

/* A guest's write counts as undisturbed when it took less than this, in nanoseconds. */
static uint64_t write_time(void)
{
    return UINT64_C(200000) * guest_slow();
}

static void print_ages(const struct stamps *r, double ns_per_cycle, uint64_t bound_ns, uint64_t pace_ns,
                       const struct lateness *host)
{
    print_message(
        "bound %llu us, a write each %llu us: p50 %.0f, p90 %.0f, p99 %.0f, max %.0f us (%u void); the host's "
        "own lateness %llu, max %llu us\n",
        (unsigned long long)bound_ns / 1000, (unsigned long long)pace_ns / 1000,
        r->ages[r->count / 2] * ns_per_cycle / 1000, r->ages[r->count * 9 / 10] * ns_per_cycle / 1000,
        r->ages[r->count * 99 / 100] * ns_per_cycle / 1000, r->ages[r->count - 1] * ns_per_cycle / 1000, r->voids,
        (unsigned long long)host->usual_ns / 1000, (unsigned long long)host->worst_ns / 1000);
}

static void check_bound(uint64_t bound_ns, uint64_t pace_ns)
{
    static uint32_t ages[PACED_WRITES];
    struct hosted m;
    uint64_t before_error, after_error;
    struct stamps r = {.ages = ages};
    struct cycles_base base = cycles_base();
    struct sleepers sleepers = {0};
    struct stamps *model = &r;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    double ns_per_cycle = cycles_to_ns(&base);

    hosted_create(&m, backend_kind, 1, bound_ns);
    r.tsc_offset = guest_tsc_offset(&m.guest.vcpus[0], &before_error);
    hosted_add(&m, &stamps_ops, &model, PORT);
    assert_int_equal(ringd_start(m.rd), 0);
    sleepers_start(&sleepers);
    HOSTED_START(&m, 0, paced, .rcx = PACED_WRITES, .rdi = PORT, .rbp = (uint64_t)((double)pace_ns / ns_per_cycle),
                 .rsi = (uint64_t)((double)write_time() / ns_per_cycle));
    hosted_join(&m, 0);
    for (unsigned i = 0; i < 1000 && __atomic_load_n(&r.count, __ATOMIC_ACQUIRE) < PACED_WRITES; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* the ring thread's work alone: nothing drains here */
    assert_int_equal(__atomic_load_n(&r.count, __ATOMIC_ACQUIRE), PACED_WRITES);
    struct lateness host = sleepers_stop(&sleepers);
    int64_t offset = guest_tsc_offset(&m.guest.vcpus[0], &after_error), drift = offset - r.tsc_offset;
    assert_int_equal(m.guest.vcpus[0].exits, 1); /* its end: nobody exited */
    ringd_stop(m.rd);                            /* the model is ours from here */

    uint64_t error = before_error + after_error;
    if ((uint64_t)llabs(drift) > error)
        fail_msg("the guest's TSC ran away: the host's was ahead by %lld and is by %lld, both within %llu",
                 (long long)r.tsc_offset, (long long)offset, (unsigned long long)error);
    qsort(ages, PACED_WRITES, sizeof(ages[0]), compare);
    print_ages(&r, ns_per_cycle, bound_ns, pace_ns, &host);
    assert_true(r.voids < PACED_WRITES / 10);
    /* The ring thread may meet the host's lateness when it sleeps, and once more when it loses its CPU at work. */
    uint64_t slack = 2 * host.worst_ns + write_time() + (uint64_t)((double)error * ns_per_cycle);
    assert_true(ages[PACED_WRITES / 2] * ns_per_cycle <= (double)(bound_ns + host.usual_ns + write_time()));
    assert_true(ages[PACED_WRITES - 1] * ns_per_cycle <= (double)(bound_ns + slack));
    hosted_destroy(&m);
}

static void test_bound(void **state)
{
    (void)state;
    check_bound(RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS, 1000000); /* 1 kHz: each write finds the ring empty */
    check_bound(RINGD_DEFAULT_MAX_REPLAY_LATENCY_NS, 300000);
    check_bound(5000000, 300000); /* a bound of its own */
}

int main(void)
{
    backend_kind = guest_backend();
    alarm(110); /* a guest that never comes back ends the test, not the machine */
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bound)};
    return cmocka_run_group_tests_name("bound", tests, NULL, NULL);
}
