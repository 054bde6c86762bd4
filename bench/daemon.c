/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon: what it costs that a device model is in ringd and not in the VMM's process: a tick, a read, a doorbell, CPU
 * time; and what many VMs on one daemon do to each other. docs/benchmarks.md has the method.
 */
#include <err.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crowd/process.h"
#include "daemon_measure.h"
#include "daemon_report.h"
#include "host.h"
#include "options.h"
#include "runner.h"

enum {
    OPT_ROUNDS,
    OPT_TICKS,
    OPT_SAMPLES,
    OPT_PACED,
    OPT_DOORBELLS,
    OPT_CLIENTS,
    OPT_STORMING,
    OPT_PHASE,
    OPT_ONLY,
    OPT_JSON,
    OPT_RINGD,
    OPT_RINGVMM,
    OPT_QUICK
};

static const struct bench_option options[] = {
    [OPT_ROUNDS] = {"rounds", "N", "rounds; each runs everything once, but for the clients (default 7)"},
    [OPT_TICKS] = {"ticks", "N", "ticks of a run, back to back (default 20000)"},
    [OPT_SAMPLES] = {"samples", "N", "stamped ticks of a run (default 2000)"},
    [OPT_PACED] = {"paced", "N", "ticks of a run at 1024 Hz (default 512; 0: not run)"},
    [OPT_DOORBELLS] = {"doorbells", "N", "writes of a run into an idle ring, one each 5 ms (default 100; 0: not run)"},
    [OPT_CLIENTS] = {"clients", "LIST", "that many on one daemon, 2 to 64 (default 12,64; 0: not run)"},
    [OPT_STORMING] = {"storming", "N", "of these storm at a time (default 1)"},
    [OPT_PHASE] = {"phase", "MS", "for so long, and for so long nobody; once a round (default 500)"},
    [OPT_ONLY] = {"only", "LIST", "of in-process,mailbox,mailbox-no-spin,socket,ringvmm,ringvmm-daemon"},
    [OPT_JSON] = {"json", "FILE|-", "write JSON to FILE, or to stdout and the tables to stderr"},
    [OPT_RINGD] = {"ringd", "PATH", "the program (default: ../ringd from here)"},
    [OPT_RINGVMM] = {"ringvmm", "PATH", "the program (default: ../ringvmm from here)"},
    [OPT_QUICK] = {"quick", NULL, "3 rounds of 2000 ticks, 200 stamped, 64 at 1024 Hz, 10 doorbells; --phase 100"},
    {NULL, NULL, NULL},
};

static const char purpose[] =
    "Measures a clock's tick (posted index write, synchronous read) with the model in this process, in the daemon\n"
    "asked by mailbox, with and without spinning, and by socket: in a guest where there is /dev/kvm, and as calls.\n"
    "Then the same daemon with many clients, of which some flood it. Says whether two limits are kept:\n"
    "  a guest's read by mailbox: at most 3 times the in-process one;\n"
    "  the p99 of a client's posted write, until it is applied: at most 2 times as long when others storm.\n"
    "Exit status: 0, whether they are kept or not; 1 something failed; 2 bad option.";

#define PATH_BYTES 512

struct settings {
    const char *json;
    char ringd[PATH_BYTES];
    uint32_t storming, phase_ms;
};

struct bench {
    struct settings settings;
    struct daemon_report report;
    struct measure measure;
};

/* ---- options ---- */

static void parse_only(const char *list, struct daemon_report *report)
{
    for (unsigned row = 0; row < ROW_COUNT; row++)
        report->rows[row].wanted = false;
    for (;;) {
        size_t length = strcspn(list, ",");
        unsigned row = 0;
        while (row < ROW_COUNT &&
               (strlen(daemon_row_name(row)) != length || strncmp(daemon_row_name(row), list, length) != 0))
            row++;
        if (row == ROW_COUNT)
            errx(BENCH_EXIT_USAGE, "--only %s: an unknown name (see --help)", list);
        report->rows[row].wanted = true;
        if (!list[length])
            return;
        list += length + 1;
    }
}

static void parse_clients(const char *list, struct daemon_report *report)
{
    report->crowds = 0;
    if (!strcmp(list, "0"))
        return;
    for (const char *at = list;; at++) {
        char text[16];
        size_t length = strcspn(at, ",");
        if (report->crowds == DAEMON_MOST_CROWDS)
            errx(BENCH_EXIT_USAGE, "--clients %s: at most %d numbers are taken", list, DAEMON_MOST_CROWDS);
        (void)snprintf(text, sizeof(text), "%.*s", (int)(length < sizeof(text) ? length : sizeof(text) - 1), at);
        report->crowd_configs[report->crowds++].clients = bench_option_number("clients", text, 2, CROWD_MOST_CLIENTS);
        at += length;
        if (!*at)
            return;
    }
}

static void parse_path(const char *name, const char *value, char path[PATH_BYTES])
{
    int length = snprintf(path, PATH_BYTES, "%s", value);
    if (length < 0 || length >= PATH_BYTES)
        errx(BENCH_EXIT_USAGE, "--%s: the path is too long", name);
}

static void parse_options(int argc, char **argv, struct bench *bench)
{
    struct settings *settings = &bench->settings;
    struct daemon_report *report = &bench->report;
    const char *value;
    int option;
    while ((option = bench_next_option(argc, argv, purpose, options, &value)) != -1) {
        switch (option) {
        case OPT_ROUNDS:
            report->rounds = bench_option_number("rounds", value, 1, CROWD_MOST_ROUNDS);
            break;
        case OPT_TICKS:
            report->ticks = bench_option_number("ticks", value, 10 * MEASURE_BLOCKS, 100000000);
            break;
        case OPT_SAMPLES:
            report->samples = bench_option_number("samples", value, 1, 10000000);
            break;
        case OPT_PACED:
            report->paced = bench_option_number("paced", value, 0, 1000000);
            break;
        case OPT_DOORBELLS:
            report->doorbells = bench_option_number("doorbells", value, 0, 100000);
            break;
        case OPT_CLIENTS:
            parse_clients(value, report);
            break;
        case OPT_STORMING:
            settings->storming = bench_option_number("storming", value, 1, CROWD_MOST_CLIENTS - 1);
            break;
        case OPT_PHASE:
            settings->phase_ms = bench_option_number("phase", value, 50, 60000);
            break;
        case OPT_ONLY:
            parse_only(value, report);
            break;
        case OPT_JSON:
            settings->json = value;
            break;
        case OPT_RINGD:
            parse_path("ringd", value, settings->ringd);
            break;
        case OPT_RINGVMM:
            parse_path("ringvmm", value, bench->measure.ringvmm);
            break;
        case OPT_QUICK:
            report->rounds = 3;
            report->ticks = 2000;
            report->samples = 200;
            report->paced = 64;
            report->doorbells = 10;
            settings->phase_ms = 100;
            break;
        }
    }
    if (access(settings->ringd, X_OK) != 0)
        err(BENCH_EXIT_USAGE, "--ringd %s", settings->ringd);
    for (unsigned i = 0; i < report->crowds; i++)
        if (settings->storming >= report->crowd_configs[i].clients)
            errx(BENCH_EXIT_USAGE, "--storming %u: somebody must be left of %u clients", settings->storming,
                 report->crowd_configs[i].clients);
}

/* ---- running ---- */

static bool is_active(const struct bench *bench, unsigned row)
{
    return bench->report.rows[row].wanted && !bench->report.rows[row].fault[0];
}

static void progress(const char *step, unsigned number, unsigned of, const char *name)
{
    if (isatty(STDERR_FILENO))
        (void)fprintf(stderr, name ? "\r\033[K%s %u of %u: %s" : "\r\033[K", step, number, of, name);
}

/* Leaves the program the usual way for a signal: daemons die with it, the scratch folder goes. */
static void leave_if_interrupted(void)
{
    if (bench_interrupted()) {
        progress("", 0, 0, NULL);
        errx(128 + bench_interrupted(), "interrupted");
    }
}

static void drop_row(struct bench *bench, unsigned row, const char *fault)
{
    leave_if_interrupted();
    progress("", 0, 0, NULL);
    warnx("%s is left out: %s", daemon_row_name(row), fault);
    (void)snprintf(bench->report.rows[row].fault, DAEMON_FAULT_BYTES, "%s", fault);
}

static void drop_for_error(struct bench *bench, unsigned row, int error)
{
    if (error)
        drop_row(bench, row, error == -EILSEQ ? "it read what was not written" : strerror(-error));
}

/* ---- everything ---- */

struct piece {
    struct bench *bench;
    unsigned row;
    uint32_t round;
};

static void *run_here(void *arg)
{
    const struct piece *piece = arg;
    struct bench *bench = piece->bench;
    int ret = measure_calls(&bench->measure, piece->row, piece->round);
    if (!ret && piece->row == PLACE_IN_PROCESS && bench->report.doorbells)
        ret = measure_bells_here(&bench->measure, piece->round);
    drop_for_error(bench, piece->row, ret);
    return NULL;
}

/* In a thread of its own, because the main thread forks guests and daemons. */
static void run_in_thread(struct bench *bench, unsigned row, uint32_t round)
{
    struct piece piece = {bench, row, round};
    pthread_t thread;
    int error = pthread_create(&thread, NULL, run_here, &piece);
    if (!error)
        pthread_join(thread, NULL);
    drop_for_error(bench, row, -error);
}

static void run_rounds(struct bench *bench)
{
    const struct daemon_report *report = &bench->report;
    char fault[DAEMON_FAULT_BYTES];
    for (uint32_t round = 0; round < report->rounds; round++) {
        for (unsigned i = 0; i < ROW_COUNT; i++) {
            unsigned row = (round + i) % ROW_COUNT; /* nobody is always first */
            if (!is_active(bench, row))
                continue;
            progress("round", round + 1, report->rounds, daemon_row_name(row));
            if (report->kvm && measure_guest(&bench->measure, row, round, fault))
                drop_row(bench, row, fault);
            if (row < PLACE_COUNT && is_active(bench, row))
                run_in_thread(bench, row, round);
            if (row == PLACE_MAILBOX && report->doorbells && is_active(bench, row))
                drop_for_error(bench, row, measure_bells_there(&bench->measure, round));
            leave_if_interrupted();
        }
    }
}

static int run_crowds(struct bench *bench)
{
    struct daemon_report *report = &bench->report;
    for (unsigned i = 0; i < report->crowds; i++) {
        struct crowd_config *config = &report->crowd_configs[i];
        config->socket = bench->measure.probe_socket;
        config->storming = bench->settings.storming;
        config->rounds = report->rounds;
        config->phase_ms = bench->settings.phase_ms;
        config->hertz = MEASURE_PACED_HERTZ;
        progress("clients", config->clients, config->clients, "ticking and storming");
        if (crowd_run(config, &report->crowd_results[i]))
            return BENCH_EXIT_FAILED;
        leave_if_interrupted();
    }
    return 0;
}

static void init_report(struct daemon_report *report)
{
    report->crowd_results = calloc(DAEMON_MOST_CROWDS, sizeof(*report->crowd_results));
    bool full = report->crowd_results != NULL;
    for (unsigned row = 0; row < ROW_COUNT; row++) {
        struct daemon_row *to = &report->rows[row];
        histogram_init(&to->read);
        histogram_init(&to->paced_read);
        bench_counter_init(&to->guest_empty);
        bench_counter_init(&to->guest_read);
        for (unsigned column = 0; column < COLUMN_COUNT && full; column++) {
            to->rounds[column] = calloc(report->rounds, sizeof(double));
            full = to->rounds[column] != NULL;
            for (uint32_t round = 0; round < report->rounds && full; round++)
                to->rounds[column][round] = NAN;
        }
    }
    if (!full)
        errx(BENCH_EXIT_FAILED, "no memory for %u rounds", report->rounds);
    if (report->kvm)
        return;
    warnx("/dev/kvm cannot be used: there are no guests, only calls");
    report->rows[ROW_RINGVMM].wanted = report->rows[ROW_RINGVMM_DAEMON].wanted = false;
}

/* What was kept in TSC ticks becomes nanoseconds now that their rate is known. */
static void scale(struct daemon_report *report)
{
    static const enum daemon_column columns[] = {COLUMN_GUEST_TICK, COLUMN_GUEST_READ, COLUMN_READ, COLUMN_PACED_READ};
    for (unsigned row = 0; row < ROW_COUNT; row++)
        for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
            for (uint32_t round = 0; round < report->rounds; round++)
                report->rows[row].rounds[columns[i]][round] *= 1e6 / report->tsc_khz;
}

static void start_daemons(struct bench *bench)
{
    char spinning[128], still[128];
    bench_scratch_path(spinning, sizeof(spinning), "spinning");
    bench_scratch_path(still, sizeof(still), "still");
    bench_scratch_path(bench->measure.probe_socket, sizeof(bench->measure.probe_socket), "probe");
    int ret = daemon_start(&bench->measure.spinning, bench->settings.ringd, spinning, NULL);
    if (!ret)
        ret = daemon_start(&bench->measure.still, bench->settings.ringd, still, "0");
    if (ret)
        errx(BENCH_EXIT_FAILED, "--ringd %s: it does not start: %s", bench->settings.ringd, strerror(-ret));
}

static int finish(struct bench *bench, int status)
{
    const struct daemon_report *report = &bench->report;
    const char *json = bench->settings.json;
    FILE *out = json && strcmp(json, "-") == 0 ? stderr : stdout;
    for (unsigned row = 0; row < ROW_COUNT; row++)
        if (report->rows[row].fault[0])
            status = BENCH_EXIT_FAILED;
    progress("", 0, 0, NULL);
    daemon_report_tables(report, out, isatty(fileno(out)) == 1);
    if (fflush(out) != 0) {
        warn("the tables could not be written");
        status = BENCH_EXIT_FAILED;
    }
    if (json) {
        json_t *root = daemon_report_json(report);
        if (bench_write_json(root, json) != 0)
            status = BENCH_EXIT_FAILED;
        json_decref(root);
    }
    return status;
}

int main(int argc, char **argv)
{
    static struct bench bench = {
        .settings = {.storming = 1, .phase_ms = 500},
        .report = {.rounds = 7, .ticks = 20000, .samples = 2000, .paced = 512, .doorbells = 100},
    };
    struct daemon_report *report = &bench.report;
    struct bench_tsc begin;
    bench_beside(bench.settings.ringd, sizeof(bench.settings.ringd), "../ringd");
    bench_beside(bench.measure.ringvmm, sizeof(bench.measure.ringvmm), "../ringvmm");
    for (unsigned row = 0; row < ROW_COUNT; row++)
        report->rows[row].wanted = true;
    report->crowds = 2;
    report->crowd_configs[0].clients = 12;
    report->crowd_configs[1].clients = 64;
    bench.measure.report = report;
    parse_options(argc, argv, &bench);
    report->kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    bench_setup_without_kvm();
    bench_scratch_path(bench.measure.console, sizeof(bench.measure.console), "console");
    init_report(report);
    bench_tsc_begin(&begin);
    start_daemons(&bench);
    run_rounds(&bench);
    int status = run_crowds(&bench);
    daemon_stop(&bench.measure.spinning);
    daemon_stop(&bench.measure.still);
    report->tsc_khz = bench_tsc_khz(&begin);
    scale(report);
    status = finish(&bench, status);
    for (unsigned row = 0; row < ROW_COUNT; row++)
        for (unsigned column = 0; column < COLUMN_COUNT; column++)
            free(report->rows[row].rounds[column]);
    free(report->crowd_results);
    return status;
}
