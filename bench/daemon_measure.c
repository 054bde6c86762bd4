/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon_measure.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "common/cycles.h"
#include "crowd/probe.h"
#include "floor.h"
#include "runner.h"
#include "variant.h"

#define BELL_HERTZ 200
#define INDEX_C    0x0c /* bit 7 reads as 0 when no interrupt is on (data sheet of the MC146818, "Register C") */
#define INDEX_D    0x0d /* bit 7 reads as 1 in a clock that works ("Register D") */
#define D_VALID    0x80

static uint64_t own_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static const struct daemon_process *daemon_of(const struct measure *measure, unsigned row)
{
    return row == PLACE_MAILBOX_NO_SPIN ? &measure->still : &measure->spinning;
}

/* A tick whose read is looked at: index and order of what the model was given are in it. Adds the read's time. */
static int tick(struct place *place, unsigned number, struct histogram *read)
{
    uint8_t index = number % 2 ? INDEX_D : INDEX_C, value = 0;
    int ret = place_index(place, index);
    uint64_t before = cycles_now();
    if (!ret)
        ret = place_data(place, &value);
    if (read)
        histogram_add(read, cycles_now() - before, 1);
    return !ret && (value & D_VALID) != (index == INDEX_D ? D_VALID : 0) ? -EILSEQ : ret;
}

static void sleep_until(uint64_t ns)
{
    struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        continue;
}

/* Back to back: the time, and the CPU time, of ticks without a stamp; then the reads of others. */
static int run_ticks(struct measure *measure, unsigned index, uint32_t round, struct place *place)
{
    const struct daemon_report *report = measure->report;
    struct daemon_row *row = &measure->report->rows[index];
    struct histogram read;
    double blocks[MEASURE_BLOCKS];
    uint32_t each = report->ticks / MEASURE_BLOCKS, count = each * MEASURE_BLOCKS;
    int ret = 0;
    uint64_t there = daemon_cpu_ns(daemon_of(measure, index)), here = own_cpu_ns(), before = monotonic_ns();
    for (unsigned block = 0; block < MEASURE_BLOCKS; block++) {
        for (uint32_t i = 0; i < each && !ret; i++)
            ret = tick(place, i, NULL);
        uint64_t now = monotonic_ns();
        blocks[block] = (double)(now - before) / each;
        before = now;
    }
    row->rounds[COLUMN_TICK][round] = bench_median(blocks, MEASURE_BLOCKS, NULL, NULL);
    row->rounds[COLUMN_CPU][round] = (double)(own_cpu_ns() - here) / count;
    row->rounds[COLUMN_DAEMON_CPU][round] =
        place->rd ? 0 : (double)(daemon_cpu_ns(daemon_of(measure, index)) - there) / count;
    histogram_init(&read);
    for (uint32_t i = 0; i < report->samples && !ret; i++)
        ret = tick(place, i, &read);
    row->rounds[COLUMN_READ][round] = (double)histogram_quantile(&read, 0.5);
    histogram_merge(&row->read, &read);
    return ret;
}

static int run_paced(struct measure *measure, unsigned index, uint32_t round, struct place *place)
{
    const struct daemon_report *report = measure->report;
    struct daemon_row *row = &measure->report->rows[index];
    struct histogram read;
    histogram_init(&read);
    uint64_t there = daemon_cpu_ns(daemon_of(measure, index)), here = own_cpu_ns(), next = monotonic_ns();
    int ret = 0;
    for (uint32_t i = 0; i < report->paced && !ret; i++) {
        sleep_until(next += 1000000000 / MEASURE_PACED_HERTZ);
        ret = tick(place, i, &read);
    }
    sleep_until(next + 1000000000 / MEASURE_PACED_HERTZ); /* what the last tick leaves to do is its, too */
    row->rounds[COLUMN_PACED_CPU][round] = (double)(own_cpu_ns() - here) / report->paced;
    row->rounds[COLUMN_PACED_DAEMON_CPU][round] =
        place->rd ? 0 : (double)(daemon_cpu_ns(daemon_of(measure, index)) - there) / report->paced;
    row->rounds[COLUMN_PACED_READ][round] = (double)histogram_quantile(&read, 0.5);
    histogram_merge(&row->paced_read, &read);
    return ret;
}

int measure_calls(struct measure *measure, unsigned index, uint32_t round)
{
    struct place place = {.kind = (enum place_kind)index, .socket = daemon_of(measure, index)->socket};
    int ret = place_open(&place);
    if (!ret) {
        ret = run_ticks(measure, index, round, &place);
        if (!ret && measure->report->paced)
            ret = run_paced(measure, index, round, &place);
        place_close(&place);
    }
    return ret;
}

/* ---- guests ---- */

static int clock_open(void *ctx)
{
    return place_open(ctx);
}

static int clock_index(void *ctx, uint8_t value)
{
    return place_index(ctx, value);
}

static int clock_data(void *ctx, uint8_t *value)
{
    return place_data(ctx, value);
}

const char *measure_guest(struct measure *measure, unsigned index, uint32_t round, char *fault)
{
    static struct variant_run run; /* its histograms are too big for the stack */
    struct daemon_row *row = &measure->report->rows[index];
    struct place place = {.kind = (enum place_kind)index, .socket = daemon_of(measure, index)->socket};
    const struct floor_clock clock = {.ctx = &place, .open = clock_open, .index = clock_index, .data = clock_data};
    struct variant_setup setup = {
        .ringvmm = measure->ringvmm,
        .params = {.pattern = PAYLOAD_PATTERN_RTC,
                   .ticks = measure->report->ticks,
                   .samples = measure->report->samples},
        .console = measure->console,
        .first_byte_fd = -1,
        .daemon = index == ROW_RINGVMM_DAEMON ? measure->spinning.socket : NULL,
        .clock = index < PLACE_COUNT ? &clock : NULL,
    };
    size_t variant = index < PLACE_COUNT ? VARIANT_ID_FLOOR : VARIANT_ID_RINGVMM;
    if (variant_measure(&variants[variant], &setup, false, &run, fault))
        return fault;
    double empty = bench_counter_quantile(&run.result.empty, 0.5);
    row->rounds[COLUMN_GUEST_TICK][round] = bench_result_tick_median(&run.result);
    row->rounds[COLUMN_GUEST_READ][round] = bench_counter_quantile(&run.result.read, 0.5) - empty;
    bench_counter_add(&row->guest_empty, &run.result.empty);
    bench_counter_add(&row->guest_read, &run.result.read);
    return NULL;
}

/* ---- doorbells ---- */

int measure_bells_here(struct measure *measure, uint32_t round)
{
    static struct probe_total total;
    static struct probe probe = {.total = &total};
    struct daemon_row *row = &measure->report->rows[PLACE_IN_PROCESS];
    const struct ringd_config config = {.backend = RINGD_BACKEND_MEMFD, .vm_fd = -1, .vcpu_fd = -1, .cpu = -1};
    struct ringd_ring_page *page = NULL;
    struct probe *self = &probe;
    struct ringd_dev *dev;
    struct ringd *rd;
    int event = -1, ret = ringd_create(&config, &rd);
    if (ret)
        return ret;
    probe_clear(&probe);
    probe.recording = 1;
    struct cycles_base base = cycles_base();
    ret = ringd_add(rd, &probe_ops, &self, NULL, &dev);
    if (!ret)
        ret = ringd_map(dev, PROBE_POSTED, PROBE_ADDR);
    if (!ret)
        ret = ringd_memfd_ring(dev, &page, NULL, &event);
    if (!ret)
        ret = ringd_start(rd);
    uint64_t next = monotonic_ns();
    for (uint32_t i = 0; i < measure->report->doorbells && !ret; i++) {
        const uint64_t one = 1;
        sleep_until(next += 1000000000 / BELL_HERTZ);
        uint64_t stamp = probe_stamp(&probe);
        ret = ringd_ring_push(page, PROBE_ADDR, 0, &stamp, sizeof(stamp));
        if (ret == 1)
            ret = write(event, &one, sizeof(one)) == (ssize_t)sizeof(one) ? 0 : -errno;
    }
    sleep_until(next + 1000000000 / BELL_HERTZ);
    double cycle_ns = cycles_to_ns(&base);
    ringd_stop(rd);
    ringd_destroy(rd);
    row->rounds[COLUMN_DOORBELL_P50][round] = (double)histogram_quantile(&probe.wait, 0.5) * cycle_ns;
    row->rounds[COLUMN_DOORBELL_P99][round] = (double)histogram_quantile(&probe.wait, 0.99) * cycle_ns;
    return ret;
}

int measure_bells_there(struct measure *measure, uint32_t round)
{
    static struct crowd_result result;
    struct daemon_row *row = &measure->report->rows[PLACE_MAILBOX];
    const struct crowd_config config = {.socket = measure->probe_socket,
                                        .clients = 1,
                                        .rounds = 1,
                                        .phase_ms = measure->report->doorbells * 1000 / BELL_HERTZ,
                                        .hertz = BELL_HERTZ,
                                        .doorbells_only = true};
    int ret = crowd_run(&config, &result);
    row->rounds[COLUMN_DOORBELL_P50][round] = result.phase[CROWD_QUIET].client[0].p50_ns;
    row->rounds[COLUMN_DOORBELL_P99][round] = result.phase[CROWD_QUIET].client[0].p99_ns;
    return ret;
}
