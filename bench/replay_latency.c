/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay_latency: how long does a posted write wait for its replay? The guest writes its TSC into a posted range of a
 * probe device; the device reads the TSC when the write reaches it. docs/benchmarks.md has the method.
 *
 * The values are the TSC's low 32 bits, so a latency is known modulo 2^32 cycles (more than a second).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <ringd/ringd.h>

#include "clock.h"
#include "common/cycles.h"
#include "host.h"
#include "latency_guest.h"
#include "options.h"
#include "ringd/histogram.h"
#include "runner.h"

enum { OPT_BOUND, OPT_IDLE, OPT_PACED, OPT_STORM, OPT_BACKEND, OPT_MODERATION, OPT_PRIORITY, OPT_JSON };

static const struct bench_option options[] = {
    [OPT_BOUND] = {"max-replay-latency", "US", "the bound in microseconds (default 1000)"},
    [OPT_IDLE] = {"idle", "N", "writes of the idle guest, one every 20 ms (default 100; 0: not run)"},
    [OPT_PACED] = {"paced", "N", "writes of the paced guest, one every millisecond (default 2000; 0: not run)"},
    [OPT_STORM] = {"storm", "N", "writes of the storm (default 200000; 0: not run)"},
    [OPT_BACKEND] = {"backend", "NAME", "mmio2, v1 or memfd only (default: all that the host has)"},
    [OPT_MODERATION] = {"moderation", "on|off", "off: every notification wakes the thread (default on)"},
    [OPT_PRIORITY] = {"priority", "N", "SCHED_FIFO priority of the ring thread (default 0: ordinary)"},
    [OPT_JSON] = {"json", "FILE|-", "write JSON to FILE, or to stdout and the table to stderr"},
    {NULL, NULL, NULL},
};

static const char purpose[] = "Measures the time from a guest's posted write to its replay into the device model.\n"
                              "Exit status: 0; 1 a write was lost or the machine failed; 2 bad option; 77 no back end.";

/* ---- the probe device ---- */

struct probe {
    struct histogram latency; /* cycles, of low 32 bits */
    uint64_t late;            /* replays beyond the bound */
    uint32_t bound_cycles;
    uint32_t offset; /* host's TSC minus guest's, low 32 bits */
};

static int probe_create(const struct ringd_env *env, const void *config, void **self)
{
    (void)env;
    *self = *(void *const *)config; /* the caller's */
    return 0;
}

static void probe_nothing(void *self)
{
    (void)self;
}

static uint64_t probe_read(void *self, unsigned region, uint64_t offset, unsigned width)
{
    (void)self;
    (void)region;
    (void)offset;
    (void)width;
    return UINT64_MAX;
}

static void probe_write(void *self, unsigned region, uint64_t offset, unsigned width, uint64_t value)
{
    (void)region;
    (void)offset;
    (void)width;
    struct probe *probe = self;
    uint32_t age = (uint32_t)cycles_now() - ((uint32_t)value + probe->offset);
    if (age > INT32_MAX) /* the two clocks were set to each other to a microsecond: this is one of those */
        age = 0;
    histogram_add(&probe->latency, age, 1);
    probe->late += age > probe->bound_cycles;
}

static const struct ringd_region probe_regions[] = {
    {"stamp", RINGD_MMIO, 0, 4096, 4, RINGD_POSTED, "the low half of the writer's TSC"}};

static const struct ringd_device_ops probe_ops = {
    .name = "latency-probe",
    .summary = "measures how late posted writes are replayed",
    .regions = probe_regions,
    .region_count = 1,
    .create = probe_create,
    .destroy = probe_nothing,
    .read = probe_read,
    .write = probe_write,
    .reset = probe_nothing,
};

/* ---- what is run ---- */

static const struct {
    const char *name;
    int64_t interval_ns; /* 0: as fast as it can */
    uint32_t count;      /* by default */
    int option;
} patterns[] = {
    {"idle", 20000000, 100, OPT_IDLE}, {"paced", 1000000, 2000, OPT_PACED}, {"storm", 0, 200000, OPT_STORM}};

#define PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

struct session {
    uint32_t bound_us, counts[PATTERNS];
    int only; /* enum ringd_backend_kind, or AUTO for all */
    bool moderation;
    int priority;
    const char *json;
    double khz;
    bool instructions; /* the clock counts them: a microsecond of it is a k-instruction */
};

struct outcome {
    struct probe probe;
    struct ringd_ring_stats ring;
    uint64_t thread_wakeups;
    double seconds;
    uint64_t full; /* writes that found the ring full, and were done synchronously */
};

static void wait_until(int64_t ns)
{
    struct timespec until = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

/* The memfd back end has no guest: this thread stands for it, and for the VMM that forwards its writes. */
static int produce(struct ringd_dev *dev, int64_t interval_ns, uint32_t count, uint64_t *full)
{
    struct ringd_ring_page *page;
    int eventfd;
    int ret = ringd_memfd_ring(dev, &page, NULL, &eventfd);
    int64_t next = (int64_t)monotonic_ns();
    for (uint32_t i = 0; i < count && !ret; i++) {
        if (interval_ns)
            wait_until(next += interval_ns);
        uint32_t stamp = (uint32_t)cycles_now();
        int pushed = ringd_ring_push(page, LATENCY_GUEST_ADDR, 0, &stamp, sizeof(stamp));
        if (pushed == -EAGAIN) {
            ringd_write(dev, 0, 0, sizeof(stamp), stamp);
            ++*full;
        } else if (pushed == 1) {
            uint64_t one = 1;
            ret = write(eventfd, &one, sizeof(one)) == (ssize_t)sizeof(one) ? 0 : -errno;
        } else if (pushed < 0) {
            ret = pushed;
        }
    }
    return ret;
}

static int measure(const struct session *session, int kvm_fd, int kind, unsigned pattern, struct outcome *out)
{
    struct latency_guest guest = {.vm_fd = -1, .vcpu_fd = -1};
    bool kvm = kind != RINGD_BACKEND_MEMFD;
    int ret = kvm ? latency_guest_create(&guest, kvm_fd) : 0;
    if (ret)
        return ret;
    histogram_init(&out->probe.latency);
    out->probe.bound_cycles = (uint32_t)(session->bound_us * session->khz / 1000);
    out->probe.offset = guest.tsc_offset;
    struct ringd_config config = {.backend = (enum ringd_backend_kind)kind,
                                  .vm_fd = guest.vm_fd,
                                  .vcpu_fd = guest.vcpu_fd,
                                  .max_replay_latency_ns = session->bound_us * UINT64_C(1000),
                                  .no_moderation = !session->moderation,
                                  .priority = session->priority,
                                  .cpu = -1};
    struct ringd *rd = NULL;
    struct ringd_dev *dev;
    void *probe = &out->probe;
    ret = ringd_create(&config, &rd);
    if (!ret)
        ret = ringd_add(rd, &probe_ops, &probe, NULL, &dev);
    if (!ret)
        ret = ringd_map(dev, 0, LATENCY_GUEST_ADDR);
    if (!ret)
        ret = ringd_start(rd);
    if (!ret) {
        uint64_t start = monotonic_ns();
        ret = kvm ? latency_guest_run(&guest, dev, patterns[pattern].interval_ns, session->counts[pattern], &out->full)
                  : produce(dev, patterns[pattern].interval_ns, session->counts[pattern], &out->full);
        wait_until((int64_t)monotonic_ns() + 4 * (int64_t)session->bound_us * 1000); /* the last one's replay */
        out->seconds = (double)(monotonic_ns() - start) / 1e9;
        out->thread_wakeups = ringd_thread_wakeups(rd);
        (void)ringd_ring_stats(rd, 0, &out->ring);
        ringd_stop(rd);
    }
    if (rd)
        ringd_destroy(rd);
    latency_guest_destroy(&guest);
    return ret;
}

/* ---- what is shown ---- */

/* Microseconds; where the clock counts instructions the same number is k-instructions. */
static double us(const struct session *session, double cycles)
{
    return cycles * 1000 / session->khz;
}

static void print_row(const struct session *session, FILE *out, int kind, unsigned pattern, const struct outcome *o)
{
    const struct histogram *h = &o->probe.latency;
    fprintf(out, "%-6s %-6s %8llu %9.1f %9.1f %9.1f %9.1f %9.1f %7llu %9.2f %6llu %9.0f %9llu %9llu %-6s\n",
            ringd_backend_name((enum ringd_backend_kind)kind), patterns[pattern].name, (unsigned long long)h->count,
            us(session, h->count ? (double)h->min : 0), us(session, (double)histogram_quantile(h, 0.5)),
            us(session, (double)histogram_quantile(h, 0.99)), us(session, (double)histogram_quantile(h, 0.999)),
            us(session, (double)h->max), (unsigned long long)o->probe.late,
            o->ring.batches ? (double)o->ring.entries / (double)o->ring.batches : 0, (unsigned long long)o->full,
            (double)o->thread_wakeups / o->seconds, (unsigned long long)o->ring.wakeups,
            (unsigned long long)o->ring.looks, o->ring.state);
}

static json_t *row_json(const struct session *session, const struct outcome *o)
{
    const struct histogram *h = &o->probe.latency;
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:I, s:I, s:s}", "writes",
                     (json_int_t)h->count, "min_us", us(session, h->count ? (double)h->min : 0), "p50_us",
                     us(session, (double)histogram_quantile(h, 0.5)), "p99_us",
                     us(session, (double)histogram_quantile(h, 0.99)), "p999_us",
                     us(session, (double)histogram_quantile(h, 0.999)), "max_us", us(session, (double)h->max), "late",
                     (json_int_t)o->probe.late, "batches", (json_int_t)o->ring.batches, "full", (json_int_t)o->full,
                     "thread_wakeups_per_second", (double)o->thread_wakeups / o->seconds, "wakeups",
                     (json_int_t)o->ring.wakeups, "looks", (json_int_t)o->ring.looks, "state", o->ring.state);
}

static int run_all(const struct session *session, int kvm_fd, FILE *out, json_t *backends)
{
    static const int kinds[] = {RINGD_BACKEND_MMIO2, RINGD_BACKEND_V1, RINGD_BACKEND_MEMFD};
    int status = 0, shown = 0;
    const char *unit = session->instructions ? "k-instructions" : "us";
    fprintf(out, "%s from a posted write to its replay%s; bound %u %s, moderation %s\n",
            session->instructions ? "K-instructions" : "Time", session->instructions ? "" : ", us", session->bound_us,
            unit, session->moderation ? "on" : "off");
    fprintf(out, "%-6s %-6s %8s %9s %9s %9s %9s %9s %7s %9s %6s %9s %9s %9s %-6s\n", "Ring", "Guest", "Writes", "min",
            "p50", "p99", "p99.9", "max", "late", "Batch", "Full", "Wakes/s", "Wake-ups", "Looks", "State");
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct ringd_probe_result result;
        if (session->only != RINGD_BACKEND_AUTO && session->only != kinds[i])
            continue;
        if (ringd_probe(kvm_fd, (enum ringd_backend_kind)kinds[i], &result)) {
            fprintf(stderr, "%s is left out: %s\n", ringd_backend_name((enum ringd_backend_kind)kinds[i]),
                    result.reason);
            continue;
        }
        json_t *rows = json_object();
        for (unsigned j = 0; j < PATTERNS; j++) {
            if (!session->counts[j])
                continue;
            struct outcome *o = calloc(1, sizeof(*o));
            int ret = o ? measure(session, kvm_fd, kinds[i], j, o) : -ENOMEM;
            if (ret) {
                fprintf(stderr, "replay_latency: %s, %s: %s\n", ringd_backend_name((enum ringd_backend_kind)kinds[i]),
                        patterns[j].name, strerror(-ret));
                status = BENCH_EXIT_FAILED;
            } else {
                print_row(session, out, kinds[i], j, o);
                if (o->probe.latency.count != session->counts[j]) {
                    fprintf(stderr, "replay_latency: %llu of %u writes arrived\n",
                            (unsigned long long)o->probe.latency.count, session->counts[j]);
                    status = BENCH_EXIT_FAILED;
                }
                json_object_set_new(rows, patterns[j].name, row_json(session, o));
            }
            free(o);
        }
        json_object_set_new(backends, ringd_backend_name((enum ringd_backend_kind)kinds[i]), rows);
        shown++;
    }
    return shown ? status : BENCH_EXIT_SKIP;
}

static int parse_backend(const char *text)
{
    for (int kind = RINGD_BACKEND_MMIO2; kind <= RINGD_BACKEND_MEMFD; kind++)
        if (!strcmp(text, ringd_backend_name((enum ringd_backend_kind)kind)))
            return kind;
    errx(BENCH_EXIT_USAGE, "--backend %s: not mmio2, v1 or memfd", text);
}

static void parse_options(int argc, char **argv, struct session *session)
{
    const char *value;
    int option;
    while ((option = bench_next_option(argc, argv, purpose, options, &value)) != -1) {
        switch (option) {
        case OPT_BOUND:
            session->bound_us = bench_option_number("max-replay-latency", value, 20, 500000);
            break;
        case OPT_IDLE:
        case OPT_PACED:
        case OPT_STORM:
            for (unsigned i = 0; i < PATTERNS; i++)
                if (patterns[i].option == option)
                    session->counts[i] = bench_option_number(patterns[i].name, value, 0, 100000000);
            break;
        case OPT_BACKEND:
            session->only = parse_backend(value);
            break;
        case OPT_MODERATION:
            if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
                errx(BENCH_EXIT_USAGE, "--moderation %s: not on or off", value);
            session->moderation = !strcmp(value, "on");
            break;
        case OPT_PRIORITY:
            session->priority = (int)bench_option_number("priority", value, 0, 99);
            break;
        case OPT_JSON:
            session->json = value;
            break;
        }
    }
    uint64_t writes = 0;
    for (unsigned i = 0; i < PATTERNS; i++)
        writes += session->counts[i];
    if (!writes)
        errx(BENCH_EXIT_USAGE, "--idle, --paced and --storm are all 0: nothing is left to run");
}

int main(int argc, char **argv)
{
    struct session session = {.bound_us = 1000, .moderation = true};
    for (unsigned i = 0; i < PATTERNS; i++)
        session.counts[i] = patterns[i].count;
    parse_options(argc, argv, &session);
    struct bench_tsc tsc;
    bench_tsc_begin(&tsc);
    session.instructions = bench_clock_counts_instructions();
    session.khz = session.instructions ? BENCH_INSTRUCTION_KHZ : bench_tsc_khz(&tsc);
    int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC); /* without it, memfd is what there is */
    FILE *out = session.json && !strcmp(session.json, "-") ? stderr : stdout;
    json_t *backends = json_object();
    int status = run_all(&session, kvm_fd, out, backends);
    if (session.json) {
        json_t *root =
            json_pack("{s:s, s:s, s:i, s:b, s:o, s:o}", "benchmark", "replay_latency", "clock",
                      session.instructions ? "instructions" : "time", "max_replay_latency_us", (int)session.bound_us,
                      "moderation", session.moderation, "host", bench_host_json(""), "backends", backends);
        if (bench_write_json(root, session.json))
            status = BENCH_EXIT_FAILED;
        json_decref(root);
    } else {
        json_decref(backends);
    }
    if (kvm_fd >= 0)
        close(kvm_fd);
    if (fflush(stdout)) {
        warn("the table could not be written");
        status = BENCH_EXIT_FAILED;
    }
    return status;
}
