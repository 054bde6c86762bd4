/* SPDX-License-Identifier: BSD-2-Clause */
/* rtc_tick: what an RTC tick, a PCI configuration read or a storm of writes costs in ringvmm, in the least possible VMM
 * and in QEMU, with one guest payload, interleaved. docs/benchmarks.md has the method. */
#include <err.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ringd/ringd.h>

#include "clock.h"
#include "host.h"
#include "options.h"
#include "outside.h"
#include "report.h"
#include "runner.h"
#include "variant.h"

enum { OPT_PATTERN, OPT_TICKS, OPT_ROUNDS, OPT_SAMPLES, OPT_JSON, OPT_ONLY, OPT_RINGVMM, OPT_QEMU, OPT_QUICK };

static const struct bench_option options[] = {
    [OPT_PATTERN] = {"pattern", "NAME", "rtc (default), pci or storm"},
    [OPT_TICKS] = {"ticks", "N", "ticks of a run, unstamped (default 20000)"},
    [OPT_ROUNDS] = {"rounds", "N", "rounds; each runs every variant once (default 7)"},
    [OPT_SAMPLES] = {"samples", "N", "stamped ticks of a run (default 2000)"},
    [OPT_JSON] = {"json", "FILE|-", "write JSON to FILE, or to stdout and the tables to stderr"},
    [OPT_ONLY] = {"only", "LIST",
                  "of ringvmm,ringvmm-off,ringvmm-v1,ringvmm-naive,floor,qemu-pc,qemu-q35,qemu-microvm"},
    [OPT_RINGVMM] = {"ringvmm", "PATH", "the program (default: ../ringvmm from here)"},
    [OPT_QEMU] = {"qemu", "PATH", "the program (default: qemu-system-x86_64)"},
    [OPT_QUICK] = {"quick", NULL, "3 rounds of 2000 ticks, 200 of them stamped"},
    {NULL, NULL, NULL},
};

static const char purpose[] =
    "Measures the cost of a tick (rtc: out 0x70, in 0x71; pci: out 0xcf8, in 0xcfc; storm: out 0x70).\n"
    "Exit status: 0; 1 a variant of ringvmm or the floor failed; 2 bad option; 77 no /dev/kvm.";

struct settings {
    struct payload_params params;
    uint32_t rounds;
    const char *json;
    const char *qemu;
    char ringvmm[512];
    bool named; /* the variants were, by --only */
    bool wanted[VARIANT_COUNT];
};

static uint32_t pattern_number(const char *name)
{
    for (uint32_t i = PAYLOAD_PATTERN_RTC; i <= PAYLOAD_PATTERN_STORM; i++) {
        if (strcmp(name, payload_pattern_name(i)) == 0)
            return i;
    }
    errx(BENCH_EXIT_USAGE, "--pattern %s: rtc, pci or storm is needed", name);
}

static void parse_options(int argc, char **argv, struct settings *settings)
{
    const char *value = NULL;
    int option;

    while ((option = bench_next_option(argc, argv, purpose, options, &value)) != -1) {
        switch (option) {
        case OPT_PATTERN:
            settings->params.pattern = pattern_number(value);
            break;
        case OPT_TICKS:
            settings->params.ticks = bench_option_number("ticks", value, 10 * PAYLOAD_BLOCKS, 100000000);
            break;
        case OPT_ROUNDS:
            settings->rounds = bench_option_number("rounds", value, 1, 10000);
            break;
        case OPT_SAMPLES:
            settings->params.samples = bench_option_number("samples", value, 1, 10000000);
            break;
        case OPT_JSON:
            settings->json = value;
            break;
        case OPT_ONLY:
            if (!variant_select(value, settings->wanted))
                errx(BENCH_EXIT_USAGE, "--only %s: an unknown variant (see --help)", value);
            settings->named = true;
            break;
        case OPT_RINGVMM:
            if (strlen(value) >= sizeof(settings->ringvmm))
                errx(BENCH_EXIT_USAGE, "--ringvmm: the path is too long");
            (void)snprintf(settings->ringvmm, sizeof(settings->ringvmm), "%s", value);
            break;
        case OPT_QEMU:
            settings->qemu = value;
            break;
        case OPT_QUICK:
            settings->rounds = 3;
            settings->params.ticks = 2000;
            settings->params.samples = 200;
            break;
        }
    }
}

static double *new_numbers(uint32_t count)
{
    double *numbers = calloc(count, sizeof(*numbers));

    if (!numbers)
        errx(BENCH_EXIT_FAILED, "no memory for %u rounds", count);
    return numbers;
}

/* Leaves out what this host's kernel cannot do, and what `ringvmm` is here already, unless it was named. */
static void check_backends(struct report *report, const struct settings *settings)
{
    static const struct {
        size_t id;
        enum ringd_backend_kind kind;
    } needs[] = {{VARIANT_ID_RINGVMM_NAIVE, RINGD_BACKEND_MMIO2}, {VARIANT_ID_RINGVMM_V1, RINGD_BACKEND_V1}};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    bool have_mmio2 = false;

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        struct series *series = &report->series[needs[i].id];
        struct ringd_probe_result result;

        if (!settings->wanted[needs[i].id])
            continue;
        bool works = ringd_probe(kvm, needs[i].kind, &result) == 0;
        have_mmio2 = have_mmio2 || (works && needs[i].kind == RINGD_BACKEND_MMIO2);
        if (!works)
            (void)snprintf(series->fault, sizeof(series->fault), "no %s: %s", ringd_backend_name(needs[i].kind),
                           result.reason);
        else if (needs[i].kind == RINGD_BACKEND_V1 && !have_mmio2 && !settings->named)
            (void)snprintf(series->fault, sizeof(series->fault), "ringvmm uses v1 here, too");
        series->impossible = series->fault[0] != '\0';
    }
    if (kvm >= 0)
        (void)close(kvm);
}

static void init_report(struct report *report, const struct settings *settings)
{
    report->params = settings->params;
    report->rounds = settings->rounds;
    check_backends(report, settings);
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        struct series *series = &report->series[i];

        series->wanted = settings->wanted[i];
        for (size_t column = 0; column < SERIES_COLUMNS; column++)
            series->rounds[column] = new_numbers(settings->rounds);
        series->exits_per_tick = series->exits_per_tick_outside = NAN;
        bench_counter_init(&series->empty);
        bench_counter_init(&series->write_all);
        bench_counter_init(&series->read_all);
        if (settings->params.pattern == PAYLOAD_PATTERN_PCI && !variants[i].has_pci)
            (void)snprintf(series->fault, sizeof(series->fault), "it has no PCI");
        if (report->qemu_version[0] == '\0' && variants[i].kind == VARIANT_QEMU)
            (void)snprintf(series->fault, sizeof(series->fault), "%s cannot be run", settings->qemu);
        if (series->wanted && series->fault[0])
            warnx("%s is left out: %s", variants[i].name, series->fault);
    }
}

static void free_report(struct report *report)
{
    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        for (size_t column = 0; column < SERIES_COLUMNS; column++)
            free(report->series[i].rounds[column]);
    }
}

static void progress(const char *step, uint32_t number, uint32_t of, const char *name)
{
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, name ? "\r\033[K%s %u of %u: %s" : "\r\033[K", step, number, of, name);
}

/* Leaves the program the usual way for a signal: the scratch folder goes, and the caller sees 128 + its number. */
static void leave_if_interrupted(void)
{
    if (bench_interrupted()) {
        progress("", 0, 0, NULL);
        errx(128 + bench_interrupted(), "interrupted");
    }
}

static void drop_variant(struct series *series, const char *name, const char *fault)
{
    leave_if_interrupted();
    progress("", 0, 0, NULL);
    warnx("%s is left out: %s", name, fault);
    if (fault != series->fault)
        (void)snprintf(series->fault, sizeof(series->fault), "%s", fault);
}

static bool is_active(const struct series *series)
{
    return series->wanted && series->fault[0] == '\0';
}

/* One timed run of one variant. */
static void run_timed(struct report *report, size_t id, const struct variant_setup *setup, uint32_t round)
{
    static struct variant_run run; /* its histograms are too big for the stack */
    struct series *series = &report->series[id];
    char fault[VARIANT_FAULT_BYTES];

    if (variant_measure(&variants[id], setup, false, &run, fault)) {
        drop_variant(series, variants[id].name, fault);
        return;
    }
    const struct bench_result *result = &run.result;
    double empty = bench_counter_quantile(&result->empty, 0.5);

    series->rounds[SERIES_TICK][round] = bench_result_tick_median(result);
    series->rounds[SERIES_TICK_MEAN][round] = bench_result_tick_mean(result);
    series->rounds[SERIES_WRITE_AVG][round] = bench_counter_mean(&result->write) - empty;
    series->rounds[SERIES_WRITE_P50][round] = bench_counter_quantile(&result->write, 0.5) - empty;
    bench_counter_add(&series->empty, &result->empty);
    bench_counter_add(&series->write_all, &result->write);
    bench_counter_add(&series->read_all, &result->read);
    if (id == VARIANT_ID_RINGVMM)
        (void)snprintf(report->backend, sizeof(report->backend), "%s", run.backend);
}

/*
 * Two more runs that differ only in the number of ticks: what start and end cost falls out of the difference. False
 * when one of them failed. @own is what the VMM counted, @outside what strace saw (NAN where nobody did).
 */
static bool count_once(size_t id, const struct variant_setup *setup, bool traced, double *own, double *outside)
{
    static struct variant_run run;
    struct variant_setup counted = *setup;
    char fault[VARIANT_FAULT_BYTES];
    /* At least so many that the exits of QEMU's other threads' making do not show. */
    uint32_t most = setup->params.ticks > 10000 && variants[id].posts ? setup->params.ticks : 10000;
    const uint32_t ticks[2] = {most, most / 4};

    *own = *outside = 0;
    for (int i = 0; i < 2; i++) {
        counted.params.ticks = ticks[i];
        if (variant_measure(&variants[id], &counted, traced, &run, fault)) {
            leave_if_interrupted();
            progress("", 0, 0, NULL);
            warnx("the exits of %s are not counted: %s", variants[id].name, fault);
            *own = *outside = NAN;
            return false;
        }
        *own += i == 0 ? run.exits : -run.exits;
        *outside += i == 0 ? run.exits_outside : -run.exits_outside;
    }
    *own /= ticks[0] - ticks[1];
    *outside /= ticks[0] - ticks[1];
    return true;
}

/* strace makes an exit dear and so changes how many a storm has: ringvmm's own count is taken without it. */
static void count_exits(struct report *report, size_t id, const struct variant_setup *setup)
{
    struct series *series = &report->series[id];
    double own, unused;

    if (variants[id].kind == VARIANT_QEMU) {
        (void)count_once(id, setup, true, &unused, &series->exits_per_tick_outside);
        series->exits_per_tick = series->exits_per_tick_outside;
        return;
    }
    if (!count_once(id, setup, false, &series->exits_per_tick, &unused) || variants[id].kind == VARIANT_FLOOR ||
        !setup->outside || !count_once(id, setup, true, &own, &series->exits_per_tick_outside))
        return;
    if (fabs(own - series->exits_per_tick_outside) > 1e-9) {
        progress("", 0, 0, NULL);
        warnx("%s counted %.5f exits per tick in a run in which strace saw %.5f", variants[id].name, own,
              series->exits_per_tick_outside);
        report->miscounted = true;
    }
}

static void run_all(struct report *report, const struct variant_setup *setup)
{
    for (uint32_t round = 0; round < report->rounds; round++) {
        for (size_t i = 0; i < VARIANT_COUNT; i++) {
            size_t id = (round + i) % VARIANT_COUNT; /* nobody is always first */
            if (!is_active(&report->series[id]))
                continue;
            progress("round", round + 1, report->rounds, variants[id].name);
            run_timed(report, id, setup, round);
            leave_if_interrupted();
        }
    }
    for (size_t id = 0; id < VARIANT_COUNT; id++) {
        if (!is_active(&report->series[id]))
            continue;
        progress("counting exits", (uint32_t)id + 1, VARIANT_COUNT, variants[id].name);
        count_exits(report, id, setup);
        leave_if_interrupted();
    }
    progress("", 0, 0, NULL);
}

static int finish(const struct report *report, const struct settings *settings)
{
    bool json_to_stdout = settings->json && strcmp(settings->json, "-") == 0;
    FILE *out = json_to_stdout ? stderr : stdout;
    int status = report->miscounted ? BENCH_EXIT_FAILED : 0;
    bool any = false;

    for (size_t i = 0; i < VARIANT_COUNT; i++) {
        any = any || is_active(&report->series[i]);
        if (report->series[i].wanted && report->series[i].fault[0] && !report->series[i].impossible &&
            variants[i].kind != VARIANT_QEMU)
            status = BENCH_EXIT_FAILED;
    }
    if (any) {
        report_tables(report, out, isatty(fileno(out)) == 1);
    } else {
        warnx("no variant could be measured");
        status = BENCH_EXIT_FAILED;
    }
    if (fflush(out) != 0) {
        warn("the tables could not be written");
        status = BENCH_EXIT_FAILED;
    }
    if (settings->json) {
        json_t *root = report_json(report);
        if (bench_write_json(root, settings->json) != 0)
            status = BENCH_EXIT_FAILED;
        json_decref(root);
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct report report;
    struct settings settings = {.params = {.pattern = PAYLOAD_PATTERN_RTC, .ticks = 20000, .samples = 2000},
                                .rounds = 7,
                                .qemu = "qemu-system-x86_64"};
    struct variant_setup setup = {.first_byte_fd = -1};
    struct bench_tsc begin;
    char console[512], why[VARIANT_FAULT_BYTES];

    bench_beside(settings.ringvmm, sizeof(settings.ringvmm), "../ringvmm");
    memset(settings.wanted, true, sizeof(settings.wanted));
    parse_options(argc, argv, &settings);
    bench_setup();
    bench_scratch_path(console, sizeof(console), "console");
    setup.ringvmm = settings.ringvmm;
    setup.qemu = settings.qemu;
    setup.params = settings.params;
    setup.console = console;
    setup.outside = outside_works(why, sizeof(why));
    if (!setup.outside)
        warnx("exits are not counted from outside, which takes strace: %s", why);
    report.instructions = bench_clock_counts_instructions();
    variant_qemu_version(settings.qemu, report.qemu_version, sizeof(report.qemu_version));
    init_report(&report, &settings);
    bench_tsc_begin(&begin);
    run_all(&report, &setup);
    report.tsc_khz = report.instructions ? BENCH_INSTRUCTION_KHZ : bench_tsc_khz(&begin);
    int status = finish(&report, &settings);
    free_report(&report);
    return status;
}
