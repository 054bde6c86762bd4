/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One thread ticks for all clients, each at a time of its own within the period, so that no two ask at once. It never
 * waits for an answer: a read is put into the mailbox, and looked for at the client's next tick. Another thread storms
 * for whoever's turn it is: it keeps the ring and 63 slots of the mailbox full, as 64 vCPUs would.
 */
#include "crowd/crowd.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <ringd/client.h>

#include "client/internal.h"
#include "common/cycles.h"
#include "crowd/probe.h"
#include "crowd/process.h"

#define SETTLE_NS   20000000u /* from the end of a phase until nothing of it is left in any ring */
#define TICK_SLOT   0u
#define STORM_BURST 64u /* writes to one ring before the next client's has its turn */

#define load(p) __atomic_load_n((p), __ATOMIC_RELAXED)

struct shared { /* with the daemon */
    struct probe_total total;
    struct probe probes[CROWD_MOST_CLIENTS];
};

struct member {
    struct ringd_client *client;
    struct ringd_remote *remote;
    struct probe *probe;
    uint64_t left_out;
    double rounds[CROWD_PHASES][3][CROWD_MOST_ROUNDS]; /* the fields of struct crowd_wait, one value a round */
    unsigned round_count[CROWD_PHASES];
};

struct crowd {
    const struct crowd_config *config;
    struct daemon_process daemon;
    struct shared *shared;
    struct member members[CROWD_MOST_CLIENTS];
    struct cycles_base base;
    uint64_t late;
    pthread_t storm_thread;
    pthread_mutex_t storm_lock; /* guards `storming`; held over a burst, so whoever is not in it does not push */
    uint64_t storming;          /* bit n: client n storms */
    bool stop;                  /* atomic, relaxed */
};

bool crowd_reads(const struct crowd_config *config, unsigned index)
{
    return !config->doorbells_only && index % 2 == 0;
}

/* ---- what a client does ---- */

static bool is_answered(const struct ringd_mail *mail)
{
    return __atomic_load_n(&mail->done, __ATOMIC_ACQUIRE) == (uint32_t)mail->request;
}

/* Asks for a read of PROBE_ANSWER in a slot that is answered; the caller sets the bit. */
static void fill_mail(const struct member *member, unsigned slot)
{
    struct ringd_mail *mail = &member->client->mailbox->slots[slot];
    uint64_t request = mail->request + 1;
    if (!(uint32_t)request)
        request++;
    __atomic_store_n(&mail->request, 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    __atomic_store_n(&mail->device, member->remote->id, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->region, PROBE_ANSWER, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->width, 8, __ATOMIC_RELAXED);
    __atomic_store_n(&mail->request, request, __ATOMIC_RELEASE);
}

static void post_mail(const struct member *member, uint64_t slots)
{
    struct ringd_mailbox *mailbox = member->client->mailbox;
    uint64_t one = 1;
    __atomic_fetch_or(&mailbox->pending, slots, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the daemon's, between `wanted` and `pending` */
    if (load(&mailbox->wanted) && __atomic_exchange_n(&mailbox->wanted, 0, __ATOMIC_RELAXED)) {
        ssize_t done = write(member->client->doorbell, &one, sizeof(one));
        (void)done;
    }
}

static void tick(struct member *member, bool reads)
{
    if (reads && !is_answered(&member->client->mailbox->slots[TICK_SLOT])) {
        member->left_out++;
        return;
    }
    uint64_t stamp = probe_stamp(member->probe);
    if (ringd_client_push(member->remote, PROBE_ADDR, 0, &stamp, sizeof(stamp))) {
        member->left_out++;
        return;
    }
    if (reads) {
        fill_mail(member, TICK_SLOT);
        post_mail(member, UINT64_C(1) << TICK_SLOT);
    }
}

/* ---- storms ---- */

/* False when there was no room anywhere. */
static bool storm_once(const struct member *member)
{
    const uint64_t value = 0;
    uint64_t slots = 0;
    unsigned pushed = 0;
    while (pushed < STORM_BURST &&
           ringd_client_push(member->remote, PROBE_ADDR + sizeof(value), 0, &value, sizeof(value)) == 0)
        pushed++;
    for (unsigned slot = TICK_SLOT + 1; slot < RINGD_ACCESS_SLOTS; slot++) {
        if (is_answered(&member->client->mailbox->slots[slot])) {
            fill_mail(member, slot);
            slots |= UINT64_C(1) << slot;
        }
    }
    if (slots)
        post_mail(member, slots);
    return pushed || slots;
}

static void *storm(void *arg)
{
    struct crowd *crowd = arg;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (!load(&crowd->stop)) {
        bool room = false;
        pthread_mutex_lock(&crowd->storm_lock);
        uint64_t storming = crowd->storming;
        for (uint64_t left = storming; left; left &= left - 1)
            room |= storm_once(&crowd->members[__builtin_ctzll(left)]);
        pthread_mutex_unlock(&crowd->storm_lock);
        if (!storming)
            nanosleep(&pause, NULL);
        else if (!room)
            sched_yield();
    }
    return NULL;
}

static void set_storming(struct crowd *crowd, uint64_t clients)
{
    pthread_mutex_lock(&crowd->storm_lock);
    crowd->storming = clients;
    pthread_mutex_unlock(&crowd->storm_lock);
}

/* ---- phases ---- */

static void sleep_until(uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

/* All but those in `storming` tick. After having been held up for more than a period it goes on from where it is: no
 * guest would make up for the ticks that it had no CPU for. */
static void tick_for(struct crowd *crowd, uint64_t duration_ns, uint64_t storming)
{
    const struct crowd_config *config = crowd->config;
    uint64_t period = 1000000000u / config->hertz, start = monotonic_ns(), end = start + duration_ns, skipped = 0;
    for (uint64_t n = 0;; n++) {
        uint64_t due = start + n * period / config->clients, now = monotonic_ns();
        if (due >= end)
            break;
        if (now < due) {
            sleep_until(due);
        } else if (now - due > period) {
            uint64_t steps = (now - due) * config->clients / period;
            n += steps;
            skipped += steps;
            if (start + n * period / config->clients >= end)
                break;
        }
        unsigned index = (unsigned)(n % config->clients);
        if (!(storming >> index & 1))
            tick(&crowd->members[index], crowd_reads(config, index));
    }
    crowd->late += skipped;
}

static void record(struct crowd *crowd, uint64_t clients)
{
    for (unsigned i = 0; i < crowd->config->clients; i++) {
        struct probe *probe = &crowd->shared->probes[i];
        if (clients >> i & 1)
            probe_clear(probe);
        __atomic_store_n(&probe->recording, (uint32_t)(clients >> i & 1), __ATOMIC_RELEASE);
    }
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/* Takes down what a phase has given, and has what is still in rings out of the way. */
static void collect(struct crowd *crowd, enum crowd_phase phase, uint64_t measured, double cycle_ns,
                    struct crowd_figures *figures)
{
    for (unsigned i = 0; i < crowd->config->clients; i++) {
        struct member *member = &crowd->members[i];
        const struct probe *probe = member->probe;
        figures->left_out += member->left_out;
        member->left_out = 0;
        if (!(measured >> i & 1) || !probe->wait.count)
            continue;
        unsigned round = member->round_count[phase]++;
        figures->samples += probe->wait.count;
        member->rounds[phase][0][round] = (double)histogram_quantile(&probe->wait, 0.5) * cycle_ns;
        member->rounds[phase][1][round] = (double)histogram_quantile(&probe->wait, 0.99) * cycle_ns;
        member->rounds[phase][2][round] = (double)histogram_quantile(&probe->before, 0.99);
    }
    figures->late += crowd->late;
}

static int run_phase(struct crowd *crowd, enum crowd_phase phase, uint64_t storming, struct crowd_figures *figures)
{
    const struct crowd_config *config = crowd->config;
    uint64_t all = config->clients == 64 ? UINT64_MAX : (UINT64_C(1) << config->clients) - 1;
    set_storming(crowd, storming);
    tick_for(crowd, SETTLE_NS, storming);
    record(crowd, all & ~storming);
    for (unsigned i = 0; i < config->clients; i++)
        crowd->members[i].left_out = 0;
    crowd->late = 0;
    uint64_t start = monotonic_ns(), served = load(&crowd->shared->total.served);
    uint64_t daemon_cpu = daemon_cpu_ns(&crowd->daemon), own_cpu = thread_cpu_ns();
    tick_for(crowd, config->phase_ms * UINT64_C(1000000), storming);
    figures->daemon_cpu_ns += daemon_cpu_ns(&crowd->daemon) - daemon_cpu;
    figures->client_cpu_ns += thread_cpu_ns() - own_cpu;
    figures->served += load(&crowd->shared->total.served) - served;
    figures->seconds_ns += monotonic_ns() - start;
    set_storming(crowd, 0);
    sleep_until(monotonic_ns() + SETTLE_NS); /* the last ones arrive, and the storm's */
    record(crowd, 0);
    if (!daemon_runs(&crowd->daemon)) {
        fprintf(stderr, "the daemon has ended by itself\n");
        return -EPIPE;
    }
    collect(crowd, phase, all & ~storming, cycles_to_ns(&crowd->base), figures);
    return 0;
}

/* ---- the whole ---- */

static int add_member(struct crowd *crowd, unsigned index)
{
    struct member *member = &crowd->members[index];
    member->probe = &crowd->shared->probes[index];
    member->probe->total = &crowd->shared->total;
    probe_clear(member->probe);
    struct probe_config probe = {.probe = (uintptr_t)member->probe};
    struct ringd_client_config config = {.path = crowd->daemon.socket};
    struct ringd_client_device device = {
        .type = "probe", .config = &probe, .config_bytes = sizeof(probe), .kvm_ring_fd = -1};
    int ret = ringd_client_create(&config, &member->client);
    if (!ret)
        ret = ringd_client_add(member->client, &device, &member->remote);
    if (!ret)
        ret = ringd_client_map(member->remote, PROBE_POSTED, PROBE_ADDR);
    if (ret)
        fprintf(stderr, "client %u of %u: %s\n", index + 1, crowd->config->clients, strerror(-ret));
    return ret;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Sorts. */
static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare);
    return count ? (values[(count - 1) / 2] + values[count / 2]) / 2 : NAN;
}

static int run_rounds(struct crowd *crowd, struct crowd_result *result)
{
    const struct crowd_config *config = crowd->config;
    int ret = 0;
    for (unsigned round = 0; round < config->rounds && !ret; round++) {
        uint64_t storming = 0;
        for (unsigned i = 0; i < config->storming; i++)
            storming |= UINT64_C(1) << (round * config->storming + i) % config->clients;
        ret = run_phase(crowd, CROWD_QUIET, 0, &result->phase[CROWD_QUIET]);
        if (!ret && storming)
            ret = run_phase(crowd, CROWD_STORM, storming, &result->phase[CROWD_STORM]);
    }
    for (unsigned i = 0; i < config->clients; i++) {
        struct member *member = &crowd->members[i];
        for (unsigned phase = 0; phase < CROWD_PHASES; phase++) {
            unsigned count = member->round_count[phase];
            result->phase[phase].client[i] = (struct crowd_wait){.p50_ns = median(member->rounds[phase][0], count),
                                                                 .p99_ns = median(member->rounds[phase][1], count),
                                                                 .before_p99 = median(member->rounds[phase][2], count)};
        }
    }
    return ret;
}

static int run(struct crowd *crowd, struct crowd_result *result)
{
    int ret = 0;
    for (unsigned i = 0; i < crowd->config->clients && !ret; i++)
        ret = add_member(crowd, i);
    if (ret)
        return ret;
    ret = -pthread_create(&crowd->storm_thread, NULL, storm, crowd);
    if (ret) {
        fprintf(stderr, "a thread: %s\n", strerror(-ret));
        return ret;
    }
    crowd->base = cycles_base();
    ret = run_rounds(crowd, result);
    __atomic_store_n(&crowd->stop, true, __ATOMIC_RELAXED);
    pthread_join(crowd->storm_thread, NULL);
    return ret;
}

int crowd_run(const struct crowd_config *config, struct crowd_result *result)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    struct shared *shared =
        mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    int ret = crowd && shared != MAP_FAILED ? 0 : -ENOMEM;
    memset(result, 0, sizeof(*result));
    if (!ret) {
        crowd->config = config;
        crowd->shared = shared;
        pthread_mutex_init(&crowd->storm_lock, NULL);
        ret = daemon_start(&crowd->daemon, NULL, config->socket, config->spin);
        if (ret)
            fprintf(stderr, "the daemon does not start: %s\n", strerror(-ret));
    }
    if (!ret)
        ret = run(crowd, result);
    if (crowd) {
        for (unsigned i = 0; i < config->clients; i++)
            if (crowd->members[i].client)
                ringd_client_destroy(crowd->members[i].client);
        if (crowd->daemon.pid)
            daemon_stop(&crowd->daemon);
    }
    if (shared != MAP_FAILED)
        munmap(shared, sizeof(*shared));
    free(crowd);
    return ret;
}

static double pick(const struct crowd_config *config, const struct crowd_figures *figures, size_t field, bool worst)
{
    double values[CROWD_MOST_CLIENTS];
    unsigned count = 0;
    for (unsigned i = 0; i < config->clients; i++) {
        double value;
        memcpy(&value, (const char *)&figures->client[i] + field, sizeof(value));
        if (!isnan(value))
            values[count++] = value;
    }
    double middle = median(values, count);
    return worst && count ? values[count - 1] : middle;
}

double crowd_median(const struct crowd_config *config, const struct crowd_figures *figures, size_t field)
{
    return pick(config, figures, field, false);
}

double crowd_worst(const struct crowd_config *config, const struct crowd_figures *figures, size_t field)
{
    return pick(config, figures, field, true);
}
